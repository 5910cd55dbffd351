// The C interface: checks of arguments, and statuses for exceptions.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "denoise.h"
#include "error.h"
#include "frcrn.h"
#include "sessions/model.h"
#include "streaming/live.h"
#include "streaming/resampled_stream.h"
#include "verify.h"

namespace {

using frcrn::Error;
using frcrn::guarded;

constexpr size_t kMostSamples = SIZE_MAX / 64;

// The caller's options, or the defaults. A smaller struct is of an earlier header: its fields come first.
template <typename Options>
Options options_of(const Options *given, const Options &defaults, const char *name) {
    if (given == nullptr) return defaults;
    constexpr size_t least = sizeof(size_t);
    if (given->size < least || given->size > sizeof(Options))
        throw Error(FRCRN_ARGUMENT, std::string(name) + ".size is " + std::to_string(given->size) +
                                        ", this library's is " + std::to_string(sizeof(Options)) + "; begin with " +
                                        name + "'s _INIT");
    Options options = defaults;
    std::memcpy(&options, given, given->size);
    return options;
}

template <typename Result>
void give(Result *result, Result value, const char *name) {
    if (result == nullptr) throw Error(FRCRN_ARGUMENT, std::string(name) + " is NULL");
    const size_t size = result->size;
    if (size < sizeof(size_t) || size > sizeof(Result))
        throw Error(FRCRN_ARGUMENT, std::string(name) + "->size is " + std::to_string(size) + ", this library's is " +
                                        std::to_string(sizeof(Result)));
    value.size = size;
    std::memcpy(result, &value, size);
}

void require(const void *pointer, const char *name) {
    if (pointer == nullptr) throw Error(FRCRN_ARGUMENT, std::string(name) + " is NULL");
}

std::string text_of(const char *text, const char *otherwise) { return text != nullptr ? text : otherwise; }

frcrn::StreamSettings stream_settings(const frcrn_stream_options &options) {
    frcrn::StreamSettings settings;
    settings.restore_level = options.keep_level == 0;
    settings.noisy_share = frcrn::noisy_share(options.attenuation_limit_db);
    settings.gain = options.gain;
    return settings;
}

// A negative length that became a huge one.
void require_samples(size_t n) {
    if (n > kMostSamples)
        throw Error(FRCRN_ARGUMENT, "n is " + std::to_string(n) + ": no memory holds so many samples");
}

void require_capacity(size_t capacity, size_t needed) {
    if (capacity < needed)
        throw Error(FRCRN_CAPACITY, "a capacity of " + std::to_string(capacity) + " samples, " +
                                        std::to_string(needed) + " are needed");
}

frcrn_stream_stats stats_of(const frcrn::StreamCounts &counts, const frcrn::GroupTimes &times) {
    frcrn_stream_stats stats = FRCRN_STREAM_STATS_INIT;
    stats.samples_in = counts.given;
    stats.samples_out = counts.returned;
    stats.replaced_samples = counts.replaced;
    stats.failed_calls = counts.failed;
    stats.limited_calls = counts.limited;
    stats.calls = times.calls;
    stats.late_calls = times.late;
    stats.worst_ms = times.worst_ms;
    stats.mean_ms = times.calls > 0 ? times.total_ms / static_cast<double>(times.calls) : 0.0;
    return stats;
}

}  // namespace

// The owner of a model and of everything made from it share it.
struct frcrn_model {
    std::shared_ptr<const frcrn::Model> model;
    frcrn_model_info info;
};

// A live worker keeps the stream that it runs.
struct frcrn_stream {
    std::shared_ptr<frcrn::ResampledStream> stream;
    std::shared_ptr<std::atomic<bool>> is_live = std::make_shared<std::atomic<bool>>(false);
};

struct frcrn_batch {
    std::shared_ptr<const frcrn::Model> model;
    std::unique_ptr<frcrn::Group> group;
    std::vector<frcrn::Sink> sinks;
};

struct frcrn_live {
    frcrn_stream stream;
    std::atomic<double> noisy_share;  // from any thread to the worker
    std::unique_ptr<frcrn::Live> live;
};

namespace {

// The stream of the caller, which no live worker runs.
frcrn::ResampledStream &own_stream(frcrn_stream *stream) {
    require(stream, "stream");
    if (stream->is_live->load()) throw Error(FRCRN_STATE, "a live worker runs this stream; frcrn_live_stop ends it");
    return *stream->stream;
}

}  // namespace

extern "C" {

const char *frcrn_status_name(frcrn_status status) {
    static const char *const names[] = {"FRCRN_OK",      "FRCRN_ARGUMENT", "FRCRN_BUNDLE",       "FRCRN_UNSUPPORTED",
                                        "FRCRN_RUNTIME", "FRCRN_BACKEND",  "FRCRN_OUTPUT",       "FRCRN_CAPACITY",
                                        "FRCRN_STATE",   "FRCRN_AUDIO",    "FRCRN_CHECK_FAILED", "FRCRN_MEMORY",
                                        "FRCRN_INTERNAL"};
    const auto index = static_cast<int>(status);
    return index >= 0 && index <= FRCRN_INTERNAL ? names[index] : "unknown status";
}

#define FRCRN_TEXT_OF(NUMBER) #NUMBER
#define FRCRN_TEXT(NUMBER) FRCRN_TEXT_OF(NUMBER)

const char *frcrn_version(void) {
    return FRCRN_TEXT(FRCRN_VERSION_MAJOR) "." FRCRN_TEXT(FRCRN_VERSION_MINOR) "." FRCRN_TEXT(FRCRN_VERSION_PATCH);
}

frcrn_status frcrn_model_open(const char *bundle, const frcrn_model_options *options, frcrn_model **model,
                              frcrn_error *error) {
    if (model != nullptr) *model = nullptr;
    return guarded(error, [&] {
        require(model, "model");
        require(bundle, "bundle");
        const frcrn_model_options defaults = FRCRN_MODEL_OPTIONS_INIT;
        const frcrn_model_options chosen = options_of(options, defaults, "frcrn_model_options");
        frcrn::ModelSettings settings;
        settings.precision = text_of(chosen.precision, "");
        settings.provider = text_of(chosen.provider, "cpu");
        settings.provider_library = text_of(chosen.provider_library, "");
        settings.threads = chosen.threads;
        settings.stream_threads = chosen.stream_threads;
        settings.high_pass = chosen.high_pass;
        if (chosen.threads < 0 || chosen.stream_threads < 0)
            throw Error(
                FRCRN_ARGUMENT,
                "threads are " + std::to_string(std::min(chosen.threads, chosen.stream_threads)) + "; give 0 or more");
        if (chosen.high_pass < -1 || chosen.high_pass > 1)
            throw Error(FRCRN_ARGUMENT, "high_pass is " + std::to_string(chosen.high_pass) + "; give -1, 0 or 1");
        frcrn::Bundle opened_bundle(bundle);  // what is wrong with it comes before what ONNX Runtime lacks
        auto ort = std::make_shared<const frcrn::OnnxRuntime>(chosen.ort_api_base, text_of(chosen.onnxruntime, ""));
        auto opened = std::make_unique<frcrn_model>();
        opened->model = std::make_shared<const frcrn::Model>(std::move(opened_bundle), std::move(ort), settings);
        const frcrn::Model &own = *opened->model;
        const frcrn::Manifest &manifest = own.manifest();
        frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
        info.name = manifest.model.c_str();
        info.licence = manifest.licence.c_str();
        info.attribution = manifest.attribution.c_str();
        info.onnxruntime = own.ort().version().c_str();
        info.sample_rate = static_cast<uint32_t>(manifest.sample_rate);
        info.random_weights = manifest.random_weights ? 1 : 0;
        info.offline = own.core() != nullptr ? 1 : 0;
        info.streaming = own.streaming_core() != nullptr ? 1 : 0;
        if (own.streaming_core() != nullptr) {
            const frcrn::Latency latency = frcrn::stream_transform(manifest, *own.streaming_core())->latency;
            info.chunk = static_cast<uint32_t>(latency.chunk);
            info.window = static_cast<uint32_t>(latency.window);
            info.lookahead = static_cast<uint32_t>(latency.lookahead);
            info.latency = static_cast<uint32_t>(latency.samples());
        }
        opened->info = info;
        *model = opened.release();
    });
}

void frcrn_model_free(frcrn_model *model) { delete model; }

frcrn_status frcrn_model_get_info(const frcrn_model *model, frcrn_model_info *info, frcrn_error *error) {
    return guarded(error, [&] {
        require(model, "model");
        give(info, model->info, "info");
    });
}

frcrn_status frcrn_model_verify(const frcrn_model *model, frcrn_check_function report, void *user, frcrn_error *error) {
    return guarded(error, [&] {
        require(model, "model");
        std::string worst;
        const size_t failed = frcrn::verify(*model->model, [&](const frcrn::Comparison &found) {
            const frcrn_check check = {found.artifact.c_str(), found.name.c_str(), found.snr_db,
                                       found.max_abs,          found.floor_db,     found.passed ? 1 : 0};
            if (!found.passed && worst.empty())
                worst = found.artifact + ", " + found.name + ": " + frcrn::number(found.snr_db) + " dB, the floor is " +
                        frcrn::number(found.floor_db);
            return report == nullptr || report(&check, user) == 0;
        });
        if (failed > 0)
            throw Error(FRCRN_CHECK_FAILED,
                        std::to_string(failed) + " comparisons missed their floor, the first: " + worst);
    });
}

frcrn_status frcrn_denoise(const frcrn_model *model, const float *in, float *out, size_t n,
                           const frcrn_denoise_options *options, frcrn_error *error) {
    return guarded(error, [&] {
        require(model, "model");
        const frcrn_denoise_options defaults = FRCRN_DENOISE_OPTIONS_INIT;
        const frcrn_denoise_options chosen = options_of(options, defaults, "frcrn_denoise_options");
        require_samples(n);
        if (n > 0) require(in, "in"), require(out, "out");
        frcrn::DenoiseSettings settings;
        settings.sample_rate = chosen.sample_rate;
        settings.restore_level = chosen.keep_level == 0;
        settings.noisy_share = frcrn::noisy_share(chosen.attenuation_limit_db);
        frcrn::denoise(*model->model, in, out, n, settings);
    });
}

frcrn_status frcrn_stream_create(const frcrn_model *model, const frcrn_stream_options *options, frcrn_stream **stream,
                                 frcrn_error *error) {
    if (stream != nullptr) *stream = nullptr;
    return guarded(error, [&] {
        require(stream, "stream");
        require(model, "model");
        const frcrn_stream_options defaults = FRCRN_STREAM_OPTIONS_INIT;
        const frcrn_stream_options chosen = options_of(options, defaults, "frcrn_stream_options");
        auto created = std::make_unique<frcrn_stream>();
        created->stream =
            std::make_shared<frcrn::ResampledStream>(*model->model, chosen.sample_rate, stream_settings(chosen));
        *stream = created.release();
    });
}

void frcrn_stream_free(frcrn_stream *stream) { delete stream; }

size_t frcrn_stream_max_out(const frcrn_stream *stream, size_t n) {
    if (stream == nullptr || n > kMostSamples) return SIZE_MAX;
    return n > 0 ? stream->stream->max_out(n) : 0;
}

size_t frcrn_stream_latency(const frcrn_stream *stream) { return stream != nullptr ? stream->stream->delay() : 0; }

size_t frcrn_stream_pending(const frcrn_stream *stream) { return stream != nullptr ? stream->stream->pending() : 0; }

frcrn_status frcrn_stream_process(frcrn_stream *stream, const float *in, size_t n, float *out, size_t capacity,
                                  size_t *written, frcrn_error *error) {
    if (written != nullptr) *written = 0;
    return guarded(error, [&] {
        frcrn::ResampledStream &own = own_stream(stream);
        require(written, "written");
        require_samples(n);
        if (own.finished()) throw Error(FRCRN_STATE, "the stream was flushed; call frcrn_stream_reset first");
        if (n == 0) return;
        require(in, "in");
        require_capacity(capacity, own.max_out(n));
        require(out, "out");
        *written = own.process(in, n, out, capacity);
    });
}

frcrn_status frcrn_stream_flush(frcrn_stream *stream, float *out, size_t capacity, size_t *written,
                                frcrn_error *error) {
    if (written != nullptr) *written = 0;
    return guarded(error, [&] {
        frcrn::ResampledStream &own = own_stream(stream);
        require(written, "written");
        if (own.finished()) throw Error(FRCRN_STATE, "the stream was flushed already; call frcrn_stream_reset first");
        require_capacity(capacity, own.pending());
        if (own.pending() > 0) require(out, "out");
        *written = own.flush(out);
    });
}

frcrn_status frcrn_stream_reset(frcrn_stream *stream, frcrn_error *error) {
    return guarded(error, [&] { own_stream(stream).reset(); });
}

frcrn_status frcrn_stream_set_attenuation_limit(frcrn_stream *stream, double limit_db, frcrn_error *error) {
    return guarded(error, [&] { own_stream(stream).set_noisy_share(frcrn::noisy_share(limit_db)); });
}

frcrn_status frcrn_stream_get_stats(const frcrn_stream *stream, frcrn_stream_stats *stats, frcrn_error *error) {
    return guarded(error, [&] {
        const frcrn::ResampledStream &own = own_stream(const_cast<frcrn_stream *>(stream));
        give(stats, stats_of(own.counts(), own.times()), "stats");
    });
}

frcrn_status frcrn_batch_create(const frcrn_model *model, size_t streams, const frcrn_stream_options *options,
                                frcrn_batch **batch, frcrn_error *error) {
    if (batch != nullptr) *batch = nullptr;
    return guarded(error, [&] {
        require(batch, "batch");
        require(model, "model");
        if (streams < 1 || streams > FRCRN_MAX_BATCH)
            throw Error(FRCRN_ARGUMENT,
                        std::to_string(streams) + " streams; give 1 to " + std::to_string(FRCRN_MAX_BATCH));
        const frcrn_stream_options defaults = FRCRN_STREAM_OPTIONS_INIT;
        const frcrn_stream_options chosen = options_of(options, defaults, "frcrn_stream_options");
        const frcrn::Model &own = *model->model;
        const frcrn::File &file = own.require_streaming_core(streams);
        if (chosen.sample_rate != 0 && chosen.sample_rate != own.manifest().sample_rate)
            throw Error(FRCRN_AUDIO, "a batch at " + std::to_string(chosen.sample_rate) +
                                         " Hz; its streams have the model's " +
                                         std::to_string(own.manifest().sample_rate) + " Hz: resample the blocks");
        auto created = std::make_unique<frcrn_batch>();
        created->model = model->model;
        created->group = std::make_unique<frcrn::Group>(own.session(file, true), own.manifest(), file, streams,
                                                        stream_settings(chosen));
        created->sinks.resize(streams);
        *batch = created.release();
    });
}

void frcrn_batch_free(frcrn_batch *batch) { delete batch; }

size_t frcrn_batch_max_out(const frcrn_batch *batch, size_t n) {
    if (batch == nullptr || n > kMostSamples) return SIZE_MAX;
    return n > 0 ? batch->group->stream(0).max_out(n) : 0;
}

size_t frcrn_batch_pending(const frcrn_batch *batch, size_t stream) {
    return batch != nullptr && stream < batch->group->size() ? batch->group->pending(stream) : 0;
}

frcrn_status frcrn_batch_process(frcrn_batch *batch, const float *const *in, const size_t *n, float *const *out,
                                 const size_t *capacity, size_t *written, frcrn_error *error) {
    if (batch != nullptr && written != nullptr) std::fill(written, written + batch->group->size(), 0);
    return guarded(error, [&] {
        require(batch, "batch");
        require(in, "in");
        require(n, "n");
        require(out, "out");
        require(capacity, "capacity");
        require(written, "written");
        frcrn::Group &group = *batch->group;
        for (size_t i = 0; i < group.size(); ++i) {
            if (n[i] == 0) continue;
            require_samples(n[i]);
            require(in[i], "in[i]");
            if (group.stream(i).finished())
                throw Error(FRCRN_STATE, "stream " + std::to_string(i) + " was flushed; call frcrn_batch_reset first");
            require_capacity(capacity[i], group.stream(i).max_out(n[i]));
            require(out[i], "out[i]");
        }
        for (size_t i = 0; i < group.size(); ++i) batch->sinks[i] = {out[i], n[i] > 0 ? capacity[i] : 0, 0};
        group.process(in, n, batch->sinks.data());
        for (size_t i = 0; i < group.size(); ++i) written[i] = batch->sinks[i].count;
    });
}

frcrn_status frcrn_batch_flush(frcrn_batch *batch, size_t stream, float *out, size_t capacity, size_t *written,
                               frcrn_error *error) {
    if (written != nullptr) *written = 0;
    return guarded(error, [&] {
        require(batch, "batch");
        require(written, "written");
        frcrn::Group &group = *batch->group;
        if (stream >= group.size())
            throw Error(FRCRN_ARGUMENT, "stream " + std::to_string(stream) + " of " + std::to_string(group.size()));
        if (group.stream(stream).finished())
            throw Error(FRCRN_STATE,
                        "stream " + std::to_string(stream) + " was flushed already; call frcrn_batch_reset first");
        require_capacity(capacity, group.pending(stream));
        if (group.pending(stream) > 0) require(out, "out");
        frcrn::Sink sink{out, static_cast<size_t>(group.pending(stream)), 0};
        group.flush(stream, sink);
        *written = sink.count;
    });
}

frcrn_status frcrn_batch_reset(frcrn_batch *batch, size_t stream, frcrn_error *error) {
    return guarded(error, [&] {
        require(batch, "batch");
        if (stream >= batch->group->size())
            throw Error(FRCRN_ARGUMENT,
                        "stream " + std::to_string(stream) + " of " + std::to_string(batch->group->size()));
        batch->group->reset(stream);
    });
}

frcrn_status frcrn_batch_get_stats(const frcrn_batch *batch, size_t stream, frcrn_stream_stats *stats,
                                   frcrn_error *error) {
    return guarded(error, [&] {
        require(batch, "batch");
        if (stream >= batch->group->size())
            throw Error(FRCRN_ARGUMENT,
                        "stream " + std::to_string(stream) + " of " + std::to_string(batch->group->size()));
        give(stats, stats_of(batch->group->stream(stream).counts, batch->group->times(stream)), "stats");
    });
}

frcrn_status frcrn_live_start(frcrn_stream *stream, const frcrn_live_options *options, frcrn_live **live,
                              frcrn_error *error) {
    if (live != nullptr) *live = nullptr;
    return guarded(error, [&] {
        require(live, "live");
        require(stream, "stream");
        const frcrn_live_options defaults = FRCRN_LIVE_OPTIONS_INIT;
        const frcrn_live_options chosen = options_of(options, defaults, "frcrn_live_options");
        constexpr size_t standard_block = 1024, most = size_t{1} << 20;
        const size_t max_block = chosen.max_block != 0 ? chosen.max_block : standard_block;
        if (max_block > most || chosen.margin > most)
            throw Error(FRCRN_ARGUMENT, "max_block " + std::to_string(max_block) + ", margin " +
                                            std::to_string(chosen.margin) + "; give at most " + std::to_string(most));
        frcrn::ResampledStream *own = &own_stream(stream);
        own->reset();
        auto created = std::make_unique<frcrn_live>();
        created->stream = *stream;
        created->noisy_share = own->noisy_share();
        // Of a call, or silence for all that had gone in.
        const size_t most_out = own->delay() + own->max_out(max_block);
        const auto process = [own, most_out, &share = created->noisy_share](const float *in, size_t n, float *out) {
            const size_t missing = own->pending() + n;
            try {
                own->set_noisy_share(share.load(std::memory_order_relaxed));
                return own->process(in, n, out, most_out);
            } catch (...) {  // ONNX Runtime failed: silence for what is missing, and a new beginning
                own->reset();
                const size_t silence = std::min(missing, most_out);
                std::fill(out, out + silence, 0.0F);
                return silence;
            }
        };
        created->live =
            std::make_unique<frcrn::Live>(process, most_out, max_block, own->delay() + max_block + chosen.margin);
        stream->is_live->store(true);
        *live = created.release();
    });
}

void frcrn_live_stop(frcrn_live *live) {
    if (live == nullptr) return;
    frcrn_stream stream = live->stream;
    delete live;
    stream.is_live->store(false);
    frcrn_stream_reset(&stream, nullptr);
}

size_t frcrn_live_latency(const frcrn_live *live) { return live != nullptr ? live->live->delay() : 0; }

namespace {

frcrn_status exchange(frcrn_live *live, const float *in, float *out, size_t n, bool waits) {
    if (live == nullptr || n > live->live->max_block() || (n > 0 && (in == nullptr || out == nullptr))) {
        // A callback that does not look at the status plays silence, not what lies there.
        if (out != nullptr && n <= kMostSamples) std::fill(out, out + n, 0.0F);
        return FRCRN_ARGUMENT;
    }
    live->live->exchange(in, out, n, waits);
    return FRCRN_OK;
}

}  // namespace

frcrn_status frcrn_live_exchange(frcrn_live *live, const float *in, float *out, size_t n) {
    return exchange(live, in, out, n, false);
}

frcrn_status frcrn_live_exchange_blocking(frcrn_live *live, const float *in, float *out, size_t n) {
    return exchange(live, in, out, n, true);
}

frcrn_status frcrn_live_set_attenuation_limit(frcrn_live *live, double limit_db) {
    if (live == nullptr || std::isnan(limit_db)) return FRCRN_ARGUMENT;
    live->noisy_share.store(frcrn::noisy_share(limit_db), std::memory_order_relaxed);
    return FRCRN_OK;
}

uint64_t frcrn_live_late_samples(const frcrn_live *live) { return live != nullptr ? live->live->late_samples() : 0; }

}  // extern "C"
