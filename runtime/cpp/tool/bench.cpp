// frcrn bench: what a bundle costs on this machine.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "commands.h"
#include "json.h"
#include "model.h"

namespace tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSeconds = 10.0, kRecordingSeconds = 10.0;

Options options() {
    return Options{{"seconds", 0, "N", "About how long the run takes. Default: 10."}} + model_options() +
           Options{{"json", 0, nullptr, "Print the results as JSON."}};
}

double milliseconds_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double peak_memory_mb() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024.0;  // of KiB
}

// Noise, the same in every run: 16 bits of a linear congruential generator.
std::vector<float> noise(size_t n) {
    std::vector<float> wave(n);
    uint32_t state = 1;
    for (float &sample : wave) {
        state = state * 1664525U + 1013904223U;
        sample = 0.1F * (static_cast<float>(state >> 16) / 32768.0F - 1.0F);
    }
    return wave;
}

double percentile(std::vector<double> times, double share) {
    const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(times.size() - 1));
    std::nth_element(times.begin(), times.begin() + at, times.end());
    return times[static_cast<size_t>(at)];
}

struct Streaming {
    double first_hop_ms = 0, chunk_ms = 0;
    std::vector<double> calls_ms;
};

// Chunks for a number of milliseconds; `begin` is when the program started.
Streaming measure_stream(const Model &model, const frcrn_model_info &info, Clock::time_point begin, double budget_ms) {
    const frcrn_stream_options settings = FRCRN_STREAM_OPTIONS_INIT;
    const Stream stream = create_stream(model, settings);
    const std::vector<float> wave = noise(info.chunk);
    std::vector<float> out(frcrn_stream_max_out(stream.get(), wave.size()));
    Streaming result;
    result.chunk_ms = 1000.0 * info.chunk / info.sample_rate;
    for (Clock::time_point started = Clock::now();
         result.calls_ms.size() < 10 || milliseconds_since(started) < budget_ms;) {
        const Clock::time_point call = Clock::now();
        size_t written = 0;
        frcrn_error error;
        frcrn_stream_process(stream.get(), wave.data(), wave.size(), out.data(), out.size(), &written, &error);
        check(error);
        if (written == 0) continue;  // the first samples only fill the window
        if (result.first_hop_ms == 0) {
            result.first_hop_ms = milliseconds_since(begin);
            started = Clock::now();
        } else {
            result.calls_ms.push_back(milliseconds_since(call));
        }
    }
    return result;
}

// The median real-time factor of recordings.
double measure_recordings(const Model &model, const frcrn_model_info &info, double budget_ms) {
    const std::vector<float> wave = noise(static_cast<size_t>(kRecordingSeconds * info.sample_rate));
    std::vector<float> out(wave.size());
    std::vector<double> factors;
    for (const Clock::time_point started = Clock::now();
         factors.size() < 2 || milliseconds_since(started) < budget_ms;) {
        const Clock::time_point call = Clock::now();
        frcrn_error error;
        frcrn_denoise(model.get(), wave.data(), out.data(), wave.size(), nullptr, &error);
        check(error);
        factors.push_back(milliseconds_since(call) / (1000.0 * kRecordingSeconds));
    }
    return percentile({factors.begin() + 1, factors.end()}, 0.5);  // the first opens the network
}

int run(const Words &words) {
    const Clock::time_point begin = Clock::now();
    const Arguments arguments("bench", {"BUNDLE"}, options(), words);
    const double budget_ms = 1000.0 * arguments.number("seconds", kSeconds, 0.0, 3600.0) / 2;
    const Model model = open_model(arguments);
    const frcrn_model_info info = info_of(model);
    JsonObject result;
    result.add("model", json_text(info.name)).add("onnxruntime", json_text(info.onnxruntime));
    std::string lines = printable(info.name) + ", ONNX Runtime " + printable(info.onnxruntime) + "\n";
    char line[160];
    if (info.streaming != 0) {
        const Streaming stream = measure_stream(model, info, begin, budget_ms);
        const double median = percentile(stream.calls_ms, 0.5), last = percentile(stream.calls_ms, 0.99);
        const double memory = peak_memory_mb();
        result.add("first_hop_ms", stream.first_hop_ms).add("hop_ms", stream.chunk_ms).add("hop_median_ms", median);
        result.add("hop_p99_ms", last).add("hops", static_cast<double>(stream.calls_ms.size()));
        result.add("stream_peak_memory_mb", memory);
        std::snprintf(line, sizeof line,
                      "Start to first hop   %.0f ms\nHop of %.0f ms          median %.3f ms, p99 %.3f ms (%zu hops)\n",
                      stream.first_hop_ms, stream.chunk_ms, median, last, stream.calls_ms.size());
        lines += line;
        std::snprintf(line, sizeof line, "Peak memory, stream  %.0f MB\n", memory);
        lines += line;
    }
    if (info.offline != 0) {
        const double factor = measure_recordings(model, info, budget_ms);
        result.add("recording_seconds", kRecordingSeconds).add("recording_real_time_factor", factor);
        std::snprintf(line, sizeof line, "Recordings           real-time factor %.4f (%.0f s each)\n", factor,
                      kRecordingSeconds);
        lines += line;
    }
    const double memory = peak_memory_mb();
    result.add("peak_memory_mb", memory);
    std::snprintf(line, sizeof line, "Peak memory, all     %.0f MB\n", memory);
    lines += line;
    std::printf("%s", arguments.has("json") ? (result.text() + "\n").c_str() : lines.c_str());
    return 0;
}

}  // namespace

extern const Command kBench = {"bench", "BUNDLE", "Measure a bundle on this machine: start, hops, recordings, memory.",
                               run, [] { return help_of(options()); }};

}  // namespace tool
