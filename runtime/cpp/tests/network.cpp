// A network through the C interface: recordings, streams, batches, a live worker. For builds with
// sanitizers and for other processors; tests/runtime/cpp compares the same with Python.
//
//     FRCRN_TEST_BUNDLE=BUNDLE FRCRN_ONNXRUNTIME=LIBRARY frcrn_network_tests
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "frcrn.h"

// ONNX Runtime is built without ThreadSanitizer, which therefore does not see what orders its threads.
extern "C" const char *__tsan_default_suppressions() { return "race:libonnxruntime.so"; }

namespace {

using Wave = std::vector<float>;

struct Model {
    Model() {
        const char *bundle = std::getenv("FRCRN_TEST_BUNDLE");
        REQUIRE(bundle != nullptr);
        frcrn_model_options options = FRCRN_MODEL_OPTIONS_INIT;
        options.threads = 1;
        const frcrn_status status = frcrn_model_open(bundle, &options, &model, &error);
        INFO(std::string(error.text));
        REQUIRE(status == FRCRN_OK);
        REQUIRE(frcrn_model_get_info(model, &info, &error) == FRCRN_OK);
    }
    ~Model() { frcrn_model_free(model); }

    frcrn_model *model = nullptr;
    frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
    frcrn_error error{};
};

// A tone in noise, half a second.
Wave clip(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> noise(0.0F, 0.02F);
    Wave wave(8000);
    for (size_t n = 0; n < wave.size(); ++n)
        wave[n] = 0.1F * std::sin(0.05F * static_cast<float>(n % 2000)) + noise(random);
    return wave;
}

frcrn_stream *made(const Model &own, uint32_t rate = 0) {
    frcrn_stream_options options = FRCRN_STREAM_OPTIONS_INIT;
    options.sample_rate = rate;
    options.attenuation_limit_db = 20;
    frcrn_stream *stream = nullptr;
    frcrn_error error;
    REQUIRE(frcrn_stream_create(own.model, &options, &stream, &error) == FRCRN_OK);
    return stream;
}

// A whole stream in blocks of random sizes, 0 too, flushed.
Wave streamed(frcrn_stream *stream, const Wave &wave, unsigned seed) {
    std::mt19937 random(seed);
    frcrn_error error;
    Wave out;
    size_t written = 0;
    for (size_t at = 0; at < wave.size();) {
        const size_t n = std::min<size_t>(random() % 700, wave.size() - at);
        Wave block(frcrn_stream_max_out(stream, n));
        REQUIRE(frcrn_stream_process(stream, wave.data() + at, n, block.data(), block.size(), &written, &error) ==
                FRCRN_OK);
        out.insert(out.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(written));
        at += n;
    }
    Wave rest(frcrn_stream_pending(stream) + 1);
    REQUIRE(frcrn_stream_flush(stream, rest.data(), rest.size(), &written, &error) == FRCRN_OK);
    out.insert(out.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(written));
    return out;
}

double worst(const Wave &one, const Wave &two) {
    REQUIRE(one.size() == two.size());
    double found = 0;
    for (size_t n = 0; n < one.size(); ++n) found = std::max(found, std::fabs(static_cast<double>(one[n]) - two[n]));
    return found;
}

}  // namespace

TEST_CASE("network: the parity vectors") {
    Model own;
    int count = 0;
    const auto report = [](const frcrn_check *check, void *user) {
        INFO(std::string(check->name));
        CHECK(check->snr_db >= 100);
        ++*static_cast<int *>(user);
        return 0;
    };
    CHECK(frcrn_model_verify(own.model, report, &count, &own.error) == FRCRN_OK);
    CHECK(count > 5);
}

TEST_CASE("network: recordings, in place and from several threads") {
    Model own;
    const Wave wave = clip(1);
    Wave alone(wave.size());
    REQUIRE(frcrn_denoise(own.model, wave.data(), alone.data(), wave.size(), nullptr, &own.error) == FRCRN_OK);
    Wave waves[2] = {wave, wave};
    std::thread other(
        [&] { frcrn_denoise(own.model, waves[0].data(), waves[0].data(), wave.size(), nullptr, nullptr); });
    frcrn_denoise(own.model, waves[1].data(), waves[1].data(), wave.size(), nullptr, nullptr);
    other.join();
    CHECK(worst(waves[0], alone) == 0);
    CHECK(worst(waves[1], alone) == 0);
}

TEST_CASE("network: streams, reset, of another rate, longer than their model") {
    Wave first, again, resampled;
    frcrn_stream *stream = nullptr, *other = nullptr;
    {
        Model own;
        stream = made(own);
        other = made(own, 48000);
    }
    const Wave wave = clip(2);
    first = streamed(stream, wave, 3);
    CHECK(first.size() == wave.size());
    frcrn_error error;
    size_t written = 0;
    Wave block(wave.size());
    CHECK(frcrn_stream_process(stream, wave.data(), 1, block.data(), block.size(), &written, &error) == FRCRN_STATE);
    CHECK(frcrn_stream_flush(stream, block.data(), block.size(), &written, &error) == FRCRN_STATE);
    CHECK(frcrn_stream_reset(stream, &error) == FRCRN_OK);
    CHECK(frcrn_stream_process(stream, wave.data(), 100, block.data(), 1, &written, &error) == FRCRN_CAPACITY);
    CHECK(worst(streamed(stream, wave, 4), first) == 0);
    CHECK(streamed(other, wave, 5).size() == wave.size());
    frcrn_stream_stats stats = FRCRN_STREAM_STATS_INIT;
    CHECK(frcrn_stream_get_stats(stream, &stats, &error) == FRCRN_OK);
    CHECK(stats.samples_in == wave.size());
    CHECK(stats.samples_out == wave.size());
    CHECK(stats.failed_calls == 0);
    frcrn_stream_free(other);
    frcrn_stream_free(stream);
}

TEST_CASE("network: samples that are none") {
    Model own;
    frcrn_stream *stream = made(own);
    Wave wave = clip(3);
    for (size_t n = 0; n < wave.size(); n += 97) wave[n] = n % 2 == 0 ? NAN : 1e30F;
    for (const float y : streamed(stream, wave, 6)) REQUIRE(std::isfinite(y));
    frcrn_stream_stats stats = FRCRN_STREAM_STATS_INIT;
    CHECK(frcrn_stream_get_stats(stream, &stats, nullptr) == FRCRN_OK);
    CHECK(stats.replaced_samples == (wave.size() + 96) / 97);
    frcrn_stream_free(stream);
    CHECK(frcrn_denoise(own.model, wave.data(), wave.data(), wave.size(), nullptr, &own.error) == FRCRN_AUDIO);
}

TEST_CASE("network: a batch gives each stream its own") {
    Model own;
    frcrn_stream_options options = FRCRN_STREAM_OPTIONS_INIT;
    options.attenuation_limit_db = 20;
    frcrn_batch *batch = nullptr;
    REQUIRE(frcrn_batch_create(own.model, 3, &options, &batch, &own.error) == FRCRN_OK);
    std::vector<Wave> waves = {clip(4), clip(5), clip(6)}, outs(3);
    std::mt19937 random(7);
    size_t at[3] = {}, n[3], capacity[3], written[3];
    while (at[0] + at[1] + at[2] < 3 * waves[0].size()) {
        const float *in[3];
        float *out[3];
        Wave blocks[3];
        for (size_t i = 0; i < 3; ++i) {
            n[i] = std::min<size_t>(random() % 500, waves[i].size() - at[i]);
            blocks[i].resize(frcrn_batch_max_out(batch, n[i]));
            in[i] = waves[i].data() + at[i], out[i] = blocks[i].data(), capacity[i] = blocks[i].size();
            at[i] += n[i];
        }
        REQUIRE(frcrn_batch_process(batch, in, n, out, capacity, written, &own.error) == FRCRN_OK);
        for (size_t i = 0; i < 3; ++i) outs[i].insert(outs[i].end(), out[i], out[i] + written[i]);
    }
    for (size_t i = 0; i < 3; ++i) {
        Wave rest(frcrn_batch_pending(batch, i) + 1);
        REQUIRE(frcrn_batch_flush(batch, i, rest.data(), rest.size(), written, &own.error) == FRCRN_OK);
        outs[i].insert(outs[i].end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(written[0]));
        frcrn_stream *stream = made(own);
        CHECK(worst(outs[i], streamed(stream, waves[i], 8)) < 1e-6);
        frcrn_stream_free(stream);
    }
    frcrn_batch_free(batch);
}

TEST_CASE("network: a live worker gives the stream's samples in their place, or silence that it counts") {
    Model own;
    frcrn_stream *stream = made(own);
    const Wave wave = clip(8), expected = streamed(stream, wave, 9);
    frcrn_live_options options = FRCRN_LIVE_OPTIONS_INIT;
    options.max_block = 256;
    options.margin = 16000;
    frcrn_live *live = nullptr;
    REQUIRE(frcrn_live_start(stream, &options, &live, &own.error) == FRCRN_OK);
    const size_t latency = frcrn_live_latency(live);
    std::thread other([live] {  // what any thread may call
        for (int i = 0; i < 100; ++i) {
            frcrn_live_late_samples(live);
            frcrn_live_set_attenuation_limit(live, 20);
            std::this_thread::yield();
        }
    });
    Wave given = wave, out;
    given.resize(wave.size() + latency);
    std::mt19937 random(10);
    for (size_t at = 0; at < given.size();) {
        const size_t n = std::min<size_t>(random() % 257, given.size() - at);
        Wave block(n);
        REQUIRE(frcrn_live_exchange(live, given.data() + at, block.data(), n) == FRCRN_OK);
        out.insert(out.end(), block.begin(), block.end());
        at += n;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    other.join();
    // Without the last ones, which depend on where the stream ends: the worker does not flush.
    size_t wrong = 0, silent = 0;
    for (size_t n = 0; n < wave.size() - own.info.latency; ++n) {
        const float y = out[latency + n];
        if (y == expected[n]) continue;
        ++(y == 0.0F ? silent : wrong);
    }
    CHECK(wrong == 0);
    CHECK(silent <= frcrn_live_late_samples(live));
    // A host that is much faster than the worker does no harm.
    for (int i = 0; i < 200; ++i) REQUIRE(frcrn_live_exchange(live, wave.data(), given.data(), 256) == FRCRN_OK);
    CHECK(frcrn_live_exchange(live, wave.data(), given.data(), 257) == FRCRN_ARGUMENT);
    frcrn_live_stop(live);
    CHECK(worst(streamed(stream, wave, 11), expected) == 0);
    frcrn_stream_free(stream);
}
