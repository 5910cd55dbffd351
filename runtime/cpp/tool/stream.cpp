// frcrn stream: standard input to standard output in real time, each channel a stream of its own.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "commands.h"
#include "json.h"
#include "model.h"
#include "pipe.h"

namespace tool {
namespace {

Options options() {
    return Options{
               {"format", 0, "NAME", "Standard input is raw PCM: s16le, s24le, s32le or f32le. Default: WAV or RF64."},
               {"rate", 0, "HZ", "Sample rate of raw PCM. Default: the network's."},
               {"channels", 0, "N", "Channels of raw PCM. Default: 1."},
               {"gain", 0, "FACTOR", "Fixed linear input gain; turns the automatic level off."}} +
           model_options() + audio_options() +
           Options{{"json", 0, nullptr, "Print the results on standard error as JSON."},
                   {"no-status", 0, nullptr, "Print nothing on standard error."}};
}

void check_pipe(int descriptor, const char *name) {
    if (::isatty(descriptor) != 0)
        throw Failure(std::string("standard ") + name +
                      " is a terminal; use a pipe: ffmpeg -i IN -f wav - | frcrn stream BUNDLE > OUT.wav");
}

void check_agreement(const Arguments &arguments, const char *option, long found) {
    const long wanted = arguments.integer(option, found, 1, 1'000'000);
    if (wanted != found)
        throw Failure(std::string("standard input is WAV with ") + option + " " + std::to_string(found) + ", not " +
                      std::to_string(wanted) + "; leave out --" + option);
}

// The channels of a recording, which are given and give the same numbers of samples.
class Channels {
public:
    Channels(const Model &model, const frcrn_stream_options &options, size_t count) : out(count) {
        for (size_t i = 0; i < count; ++i) streams_.push_back(create_stream(model, options));
    }

    // Both give the number of finished samples, which `out` holds.
    size_t process(const std::vector<std::vector<float>> &in) {
        return each([&](size_t i, size_t *written, frcrn_error *error) {
            const size_t n = in[i].size(), capacity = frcrn_stream_max_out(streams_[i].get(), n);
            out[i].resize(std::max(out[i].size(), capacity));
            frcrn_stream_process(streams_[i].get(), in[i].data(), n, out[i].data(), out[i].size(), written, error);
        });
    }
    size_t flush() {
        return each([&](size_t i, size_t *written, frcrn_error *error) {
            out[i].resize(frcrn_stream_pending(streams_[i].get()));
            frcrn_stream_flush(streams_[i].get(), out[i].data(), out[i].size(), written, error);
        });
    }
    size_t latency() const { return frcrn_stream_latency(streams_[0].get()); }

    // Of all channels together.
    frcrn_stream_stats stats() const {
        frcrn_stream_stats all = FRCRN_STREAM_STATS_INIT;
        for (const Stream &stream : streams_) {
            frcrn_stream_stats one = FRCRN_STREAM_STATS_INIT;
            frcrn_error error;
            frcrn_stream_get_stats(stream.get(), &one, &error);
            check(error);
            all.samples_in = one.samples_in;
            all.replaced_samples += one.replaced_samples;
            all.failed_calls += one.failed_calls;
            all.limited_calls += one.limited_calls;
        }
        return all;
    }

    std::vector<std::vector<float>> out;  // [C][at least as many as finished]

private:
    template <typename Call>
    size_t each(const Call &call) {
        size_t written = 0;
        for (size_t i = 0; i < streams_.size(); ++i) {
            frcrn_error error;
            call(i, &written, &error);
            check(error);
        }
        return written;
    }

    std::vector<Stream> streams_;
};

// Busy time, and the blocks that took longer than the samples since the last output last.
struct Meter {
    double busy = 0;
    size_t calls = 0, misses = 0, waiting = 0;

    void add(double seconds, size_t given, size_t returned, long rate) {
        busy += seconds;
        waiting += given;
        if (returned == 0) return;
        calls += 1;
        misses += seconds > static_cast<double>(waiting) / static_cast<double>(rate) ? 1 : 0;
        waiting = 0;
    }
};

std::string summary(double seconds, double factor, const Meter &meter, double delay_ms, const std::string &losses) {
    char text[160];
    std::snprintf(text, sizeof text, "%.1f s, real-time factor %.3f, %zu deadlines missed, delay %.1f ms", seconds,
                  factor, meter.misses, delay_ms);
    return text + (losses.empty() ? "" : ", " + losses);
}

// What of the input is not in the output, in words.
std::string losses_of(const frcrn_stream_stats &stats, const PipeReader &reader, const PipeWriter &writer,
                      uint32_t model_rate) {
    std::string losses;
    const auto add = [&](bool said, const std::string &text) {
        if (said) losses += (losses.empty() ? "" : ", ") + text;
    };
    add(reader.spec().sample_rate > static_cast<long>(model_rate), band_loss(model_rate));
    add(stats.replaced_samples > 0, std::to_string(stats.replaced_samples) + " samples replaced");
    add(stats.limited_calls > 0, std::to_string(stats.limited_calls) + " calls clipped: --precision fp32");
    add(stats.failed_calls > 0, std::to_string(stats.failed_calls) + " calls gave NaN: silence instead");
    add(reader.truncated(), "input truncated");
    add(reader.another(), "a second WAV behind the first was not read");
    add(writer.clipped() > 0, std::to_string(writer.clipped()) + " samples clipped: integers end at full scale");
    return losses;
}

int run(const Words &words) {
    const Arguments arguments("stream", {"BUNDLE"}, options(), words);
    frcrn_stream_options settings = FRCRN_STREAM_OPTIONS_INIT;
    settings.keep_level = arguments.has("keep-level") ? 1 : 0;
    settings.attenuation_limit_db = attenuation_limit(arguments);
    settings.gain = arguments.number("gain", 0.0, 1e-6, 1e6);
    const Model model = open_model(arguments);
    const frcrn_model_info info = info_of(model);
    check_pipe(STDIN_FILENO, "input");
    check_pipe(STDOUT_FILENO, "output");
    PcmSpec raw;
    raw.sample_rate = arguments.integer("rate", info.sample_rate, 1, 1'000'000);
    raw.channels = arguments.integer("channels", 1, 1, 1'000);
    if (arguments.has("format")) raw.format = arguments.text("format");
    raw.check();
    interrupts_end_input();
    PipeReader reader(arguments.has("format") ? &raw : nullptr);
    const PcmSpec &spec = reader.spec();
    check_agreement(arguments, "rate", spec.sample_rate);
    check_agreement(arguments, "channels", spec.channels);
    settings.sample_rate = static_cast<uint32_t>(spec.sample_rate);
    Channels channels(model, settings, static_cast<size_t>(spec.channels));
    PipeWriter writer(reader.header(), reader.is_wav());
    const size_t block_frames =
        (static_cast<size_t>(info.chunk) * settings.sample_rate + info.sample_rate - 1) / info.sample_rate;
    std::vector<std::vector<float>> block(channels.out.size());
    Meter meter;
    while (!writer.broken()) {
        const Bytes data = reader.read(block_frames);
        if (data.empty()) break;
        spec.decode(data, block);
        const auto begin = std::chrono::steady_clock::now();
        const size_t done = channels.process(block);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        meter.add(took.count(), block[0].size(), done, spec.sample_rate);
        writer.write(channels.out, done);
    }
    if (!writer.broken()) writer.write(channels.out, channels.flush());
    writer.close();
    if (arguments.has("no-status")) return 0;
    const frcrn_stream_stats stats = channels.stats();
    const double rate = static_cast<double>(spec.sample_rate);
    const double seconds = static_cast<double>(stats.samples_in) / rate;
    const double factor = seconds > 0 ? meter.busy / seconds : 0.0;
    const double delay_ms = 1000.0 * static_cast<double>(channels.latency()) / rate;
    const std::string losses = losses_of(stats, reader, writer, info.sample_rate);
    if (arguments.has("json")) {
        JsonObject result;
        result.add("model", json_text(info.name)).add("sample_rate", rate);
        result.add("channels", static_cast<double>(spec.channels)).add("audio_seconds", seconds);
        result.add("busy_seconds", meter.busy).add("real_time_factor", factor);
        result.add("calls", static_cast<double>(meter.calls)).add("deadline_misses", static_cast<double>(meter.misses));
        result.add("delay_ms", delay_ms).add("replaced_samples", static_cast<double>(stats.replaced_samples));
        result.add("failed_calls", static_cast<double>(stats.failed_calls));
        result.add("limited_calls", static_cast<double>(stats.limited_calls));
        result.add("truncated", json_flag(reader.truncated())).add("losses", json_text(losses));
        std::fprintf(stderr, "%s\n", result.text().c_str());
    } else {
        std::fprintf(stderr, "%s\n", summary(seconds, factor, meter, delay_ms, losses).c_str());
    }
    return 0;
}

}  // namespace

extern const Command kStream = {"stream", "BUNDLE", "Denoise in real time, from standard input to standard output.",
                                run, [] { return help_of(options()); }};

}  // namespace tool
