#include "verify.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "audio/high_pass.h"
#include "audio/stft.h"
#include "bundle/npz.h"
#include "denoise.h"
#include "streaming/group.h"

namespace frcrn {
namespace {

constexpr double kIdenticalDb = 300.0, kFloat32FloorDb = 90.0, kLoudAllowanceDb = 20.0;
const char *const kLoud = "loud";

double snr_db(const std::vector<float> &reference, const float *estimate) {
    double signal = 0, error = 0;
    for (size_t i = 0; i < reference.size(); ++i) {
        const double difference = static_cast<double>(reference[i]) - static_cast<double>(estimate[i]);
        signal += static_cast<double>(reference[i]) * static_cast<double>(reference[i]);
        error += difference * difference;
    }
    if (std::isnan(error)) return -kIdenticalDb;
    if (error == 0) return kIdenticalDb;
    if (signal == 0) return -kIdenticalDb;
    return std::clamp(10 * std::log10(signal / error), -kIdenticalDb, kIdenticalDb);
}

class Check {
public:
    Check(const Model &model, const std::function<bool(const Comparison &)> &report)
        : model_(model), report_(report), arrays_(read_vectors(model)) {}

    size_t run() {
        for (const auto &[name, array] : arrays_) {
            const std::string suffix = ".input";
            if (name.size() <= suffix.size() || name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0)
                continue;
            const std::string whole = name.substr(0, name.size() - suffix.size());
            const auto output = arrays_.find(whole + ".output");
            const size_t dot = whole.find('.');
            if (output == arrays_.end() || dot == std::string::npos) continue;
            compare_case(whole, whole.substr(0, dot), array, output->second);
            if (ended_) break;
        }
        return failed_;
    }

private:
    static std::map<std::string, Array> read_vectors(const Model &model) {
        const File *file = model.manifest().file("parity", "npz", "fp32");
        if (file == nullptr)
            throw Error(FRCRN_UNSUPPORTED, model.bundle().path() + ": no parity vectors in this bundle");
        return read_npz(model.bundle().checked(*file));
    }

    void compare_case(const std::string &name, const std::string &stage, const Array &input, const Array &output) {
        const File *core = model_.core(), *streaming = model_.streaming_core();
        const bool whole_core = core != nullptr && core->role == "core";
        if (stage == "core" && whole_core) compare_core(name, *core, input, output);
        if (stage == "core_long" && model_.long_core() != nullptr)
            compare_core(name, *model_.long_core(), input, output);
        if (stage == "streaming" && streaming != nullptr) compare_streaming(name, *streaming, input, output);
        if ((stage == "pipeline" || (stage == "levelled" && whole_core)) && core != nullptr)
            compare_recording(name, *core, input, output, stage == "pipeline");
        if (stage == "stream" && streaming != nullptr) compare_stream(name, *streaming, input, output);
        if (stage == "pre" && model_.manifest().stft) compare_analysis(name, input, output);
        if (stage == "post" && model_.manifest().stft) compare_synthesis(name, input, output);
        if (stage == "high_pass" && model_.bundle().manifest().high_pass) compare_high_pass(name, input, output);
    }

    std::vector<float> values_of(const std::string &name) const {
        const auto found = arrays_.find(name);
        return found != arrays_.end() ? found->second.values : std::vector<float>{};
    }

    void compare(const std::string &artifact, const std::string &name, const Array &expected, const float *values,
                 size_t count, double floor_db) {
        Comparison result{artifact, name, -kIdenticalDb, std::numeric_limits<float>::max(), floor_db, false};
        const bool finite = std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
        if (count == expected.values.size() && finite) {
            result.snr_db = snr_db(expected.values, values);
            result.max_abs = 0;
            for (size_t i = 0; i < count; ++i)
                result.max_abs = std::max(result.max_abs, std::fabs(static_cast<double>(expected.values[i]) -
                                                                    static_cast<double>(values[i])));
        }
        result.passed = result.snr_db >= floor_db;
        failed_ += result.passed ? 0 : 1;
        ended_ = !report_(result);
    }

    // Whether a file takes inputs as loud as those of a case; files of 8 bits have seen other levels.
    static bool takes(const File &file, const std::string &name, const Array &input) {
        if (!is_loud(name)) return true;
        const double limit = file.precision == "int8" || file.precision == "fp8" ? 0.0 : file.input_limit;
        return std::all_of(input.values.begin(), input.values.end(),
                           [limit](float value) { return std::fabs(value) <= limit; });
    }
    static bool is_loud(const std::string &name) {
        const size_t dot = name.find('.');
        return name.compare(dot + 1, std::char_traits<char>::length(kLoud), kLoud) == 0;
    }
    static double floor_of(const File &file, const std::string &name) {
        return file.floor_db - (is_loud(name) ? kLoudAllowanceDb : 0.0);
    }

    void compare_core(const std::string &name, const File &file, const Array &input, const Array &output) {
        if (!takes(file, name, input) || (file.engine && !file.engine->takes(input.shape))) return;
        const auto session = model_.session(file, false);
        const Output found =
            session->run(file.inputs.at(0).name, input.values.data(), input.shape, file.outputs.at(0).name);
        compare(file.path, name, output, found.data, static_cast<size_t>(found.values()), floor_of(file, name));
    }

    // Whole streams [batch, ..., frames], call by call; zeros follow until the last frame has come out.
    void compare_streaming(const std::string &name, const File &file, const Array &input, const Array &output) {
        if (!takes(file, name, input)) return;
        if (input.shape.size() < 2) throw Error(FRCRN_BUNDLE, "parity vector " + shown(name) + " has no batch");
        const Streaming &info = *file.streaming;
        const int64_t chunk = info.chunk, frames = input.shape.back(), lookahead = info.lookahead;
        const auto batch = static_cast<size_t>(input.shape[0]);
        if (batch < 1 || batch > FRCRN_MAX_BATCH || frames < 1)
            throw Error(FRCRN_BUNDLE, "parity vector " + shown(name) + " is of an impossible shape");
        if (file.engine && static_cast<int64_t>(batch) > file.engine->rows()) return;
        StreamCore core(model_.session(file, true), file, batch);
        const auto planes = static_cast<int64_t>(core.row_values()) / chunk;
        if (static_cast<int64_t>(input.values.size()) != static_cast<int64_t>(batch) * planes * frames)
            throw Error(FRCRN_BUNDLE, "parity vector " + shown(name) + " does not fit the streaming core");
        std::vector<float> found(input.values.size());
        for (int64_t first = 0; first < frames + lookahead; first += chunk) {
            for (size_t row = 0; row < batch; ++row) {
                const float *given = input.values.data() + static_cast<int64_t>(row) * planes * frames;
                for (int64_t plane = 0; plane < planes; ++plane)
                    for (int64_t k = 0; k < chunk; ++k)
                        core.input(row)[plane * chunk + k] =
                            first + k < frames ? given[plane * frames + first + k] : 0.0F;
                core.set_end(row, first + chunk > frames ? frames : kUnknownEnd);
            }
            core.run(batch);
            for (size_t row = 0; row < batch; ++row) {
                float *out = found.data() + static_cast<int64_t>(row) * planes * frames;
                for (int64_t k = 0; k < chunk; ++k) {
                    const int64_t frame = first + k - lookahead;
                    if (frame < 0 || frame >= frames) continue;
                    for (int64_t plane = 0; plane < planes; ++plane)
                        out[plane * frames + frame] = core.output(row)[plane * chunk + k];
                }
            }
        }
        compare(file.path, name, output, found.data(), found.size(), floor_of(file, name));
    }

    void compare_recording(const std::string &name, const File &file, const Array &input, const Array &output,
                           bool restore_level) {
        std::vector<float> found(input.values.size());
        DenoiseSettings settings;
        settings.restore_level = restore_level;
        settings.check_finite = false;
        settings.high_pass = false;  // the vectors are without it
        denoise(model_, input.values.data(), found.data(), found.size(), settings);
        compare(file.path, name, output, found.data(), found.size(), floor_of(file, name));
    }

    void compare_stream(const std::string &name, const File &file, const Array &input, const Array &output) {
        StreamSettings settings;
        settings.high_pass = false;
        Group group(model_.session(file, true), model_.manifest(), file, 1, settings);
        std::vector<float> found(input.values.size());
        Sink sink{found.data(), found.size(), 0};
        // As many samples must come out of each call as the reference says, the last time at the end.
        const std::vector<float> blocks = values_of(name + ".blocks"), returned = values_of(name + ".returned");
        bool in_time = returned.size() == blocks.size() + 1;
        size_t at = 0;
        for (size_t i = 0; i < blocks.size() && in_time; ++i) {
            const size_t rest = input.values.size() - at, before = sink.count;
            const bool fits = blocks[i] >= 0 && blocks[i] <= static_cast<float>(rest);  // false for NaN
            const size_t n = fits ? static_cast<size_t>(blocks[i]) : rest;
            const float *in = input.values.data() + at;
            group.process(&in, &n, &sink);
            at += n;
            in_time = static_cast<float>(sink.count - before) == returned[i];
        }
        const size_t before = sink.count;
        group.flush(0, sink);
        in_time = in_time && static_cast<float>(sink.count - before) == returned.back();
        if (!in_time) sink.count = 0;  // fails
        compare(file.path, name, output, found.data(), sink.count, floor_of(file, name));
    }

    void compare_analysis(const std::string &name, const Array &input, const Array &output) {
        FrameTransform transform(*model_.manifest().stft);
        const Array &waves = input;
        const int64_t n = waves.shape.empty() ? 0 : waves.shape.back();
        if (waves.shape.size() != 2 || n < transform.spec().shortest())
            throw Error(FRCRN_BUNDLE, "parity vector " + shown(name) + " is no batch of signals");
        std::vector<float> found;
        for (int64_t row = 0; row < waves.shape[0]; ++row) {
            const std::vector<float> spectrum = analyse(transform, waves.values.data() + row * n, n);
            found.insert(found.end(), spectrum.begin(), spectrum.end());
        }
        compare("stft", name, output, found.data(), found.size(), kFloat32FloorDb);
    }

    void compare_synthesis(const std::string &name, const Array &input, const Array &output) {
        FrameTransform transform(*model_.manifest().stft);
        const int64_t frames = input.shape.empty() ? 0 : input.shape.back();
        if (input.shape.size() != 4 || input.shape[1] != 2 || input.shape[2] != transform.spec().bins() || frames < 1)
            throw Error(FRCRN_BUNDLE, "parity vector " + shown(name) + " is no batch of spectra");
        std::vector<float> found;
        for (int64_t row = 0; row < input.shape[0]; ++row) {
            const std::vector<float> wave =
                synthesise(transform, input.values.data() + row * 2 * input.shape[2] * frames, frames);
            found.insert(found.end(), wave.begin(), wave.end());
        }
        compare("stft", name, output, found.data(), found.size(), kFloat32FloorDb);
    }

    void compare_high_pass(const std::string &name, const Array &input, const Array &output) {
        const HighPass &spec = *model_.bundle().manifest().high_pass;
        const auto rate = static_cast<double>(model_.manifest().sample_rate);
        std::vector<float> found = input.values;
        if (name == "high_pass.recording") {
            high_pass_both_ways(found, spec.cutoff_hz, rate);
        } else {
            HighPassFilter filter(spec.streaming_cutoff_hz, rate);
            for (float &x : found) x = static_cast<float>(filter(x));
        }
        compare("high-pass", name, output, found.data(), found.size(), kFloat32FloorDb);
    }

    const Model &model_;
    const std::function<bool(const Comparison &)> &report_;
    std::map<std::string, Array> arrays_;
    size_t failed_ = 0;
    bool ended_ = false;
};

}  // namespace

size_t verify(const Model &model, const std::function<bool(const Comparison &)> &report) {
    for (const File &file : model.manifest().files) model.bundle().checked(file);
    return Check(model, report).run();
}

}  // namespace frcrn
