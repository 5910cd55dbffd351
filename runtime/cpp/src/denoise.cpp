#include "denoise.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "audio/high_pass.h"
#include "audio/level.h"
#include "audio/resampler.h"
#include "audio/samples.h"
#include "audio/stft.h"
#include "denormals.h"

namespace frcrn {
namespace {

// A core without a long form takes utterances whole up to this many times the length at which
// `core_long` begins.
constexpr int64_t kWholeWithoutLong = 4;
constexpr size_t kResampledBlock = 1 << 16;

void check_audio(const float *in, size_t n) {
    if (n == 0) throw Error(FRCRN_AUDIO, "no samples; give audio with at least one");
    for (size_t i = 0; i < n; ++i)
        if (!is_usable(in[i]))
            throw Error(FRCRN_AUDIO, "sample " + std::to_string(i) + " is " + number(in[i]) +
                                         "; samples are finite, full scale is 1; repair the recording or "
                                         "cut it before that");
}

std::vector<float> resampled(const std::vector<float> &wave, int64_t from_rate, int64_t to_rate, size_t length) {
    Resampler resampler(from_rate, to_rate);
    if (resampler.passes_through()) return wave;
    std::vector<float> out;
    out.reserve(length + resampler.max_out(kResampledBlock));
    for (size_t start = 0; start < wave.size(); start += kResampledBlock)
        resampler.add(wave.data() + start, std::min(kResampledBlock, wave.size() - start), false, out);
    resampler.add(wave.data(), 0, true, out);
    out.resize(length);
    return out;
}

// The core as a function of waveforms: [n] to at most [n] samples.
class WaveFunction {
public:
    explicit WaveFunction(const Model &model)
        : model_(model), core_(model.require_core()), session_(model.session(core_, false)) {
        if (core_.inputs.size() != 1 || core_.outputs.empty())
            throw Error(FRCRN_BUNDLE, core_.path + ": the manifest names no input or output of it");
        if (model.manifest().stft && core_.role != "pipeline") transform_.emplace(*model.manifest().stft);
    }

    const File &core() const { return core_; }

    std::vector<float> operator()(const std::vector<float> &wave) {
        const auto n = static_cast<int64_t>(wave.size());
        if (core_.role == "pipeline") return values(run(core_, wave, {1, n}));
        if (!transform_) {
            std::vector<float> given = wave;
            return values(run(core_, bounded(given), {1, 1, n}));
        }
        std::vector<float> spectrum = analyse(*transform_, wave.data(), n);
        const StftSpec &stft = transform_->spec();
        const int64_t frames = stft.frames(n);
        const File *long_core = model_.long_core();
        const File &file = long_core != nullptr && frames > long_core->above_frames ? *long_core : core_;
        const std::vector<int64_t> shape{1, 2, stft.bins(), frames};
        const Output enhanced = run(file, bounded(spectrum), shape);
        return synthesise(*transform_, enhanced.data, frames);
    }

private:
    Output run(const File &file, const std::vector<float> &given, const std::vector<int64_t> &shape) {
        if (file.engine && !file.engine->takes(shape))
            throw Error(FRCRN_UNSUPPORTED,
                        file.path + ": its profile takes no input of " + std::to_string(shape.back()) +
                            " frames or samples; build it again: " + model_.build_command(file) + " --force");
        const auto session = &file == &core_ ? session_ : model_.session(file, false);
        Output output = session->run(file.inputs[0].name, given.data(), shape, file.outputs[0].name);
        if (output.shape != shape)
            throw Error(FRCRN_BACKEND, file.path + ": the output has another shape than the input");
        return output;
    }

    static std::vector<float> values(const Output &output) { return {output.data, output.data + output.values()}; }

    // What enters the core is bounded to what its precision was verified for.
    const std::vector<float> &bounded(std::vector<float> &given) const {
        if (core_.input_limit > 0) {
            const auto limit = static_cast<float>(core_.input_limit);
            for (float &value : given) value = std::min(std::max(value, -limit), limit);
        }
        return given;
    }

    const Model &model_;
    const File &core_;
    std::shared_ptr<const Session> session_;
    std::optional<FrameTransform> transform_;
};

bool fits_whole(const Model &model, const File &core, int64_t n) {
    const Manifest &manifest = model.manifest();
    const int64_t padded = n + manifest.padding.samples(n);
    const int64_t length = manifest.stft ? manifest.stft->frames(padded) : padded;
    if (core.engine)
        return core.engine->takes(manifest.stft ? std::vector<int64_t>{1, 2, manifest.stft->bins(), length}
                                                : std::vector<int64_t>{1, 1, length});
    const File *long_core = manifest.file("core_long", core.format, "fp32");
    if (long_core == nullptr || core.precision == "fp32" || !model.on_processor()) return true;
    return length <= kWholeWithoutLong * long_core->above_frames;
}

// Windows over a long utterance: each keeps its part [left, length - right); the first also its start, the
// last its end.
std::vector<float> in_windows(WaveFunction &function, const std::vector<float> &wave, const Manifest &manifest) {
    const Segments &segments = manifest.segments;
    const auto n = static_cast<int64_t>(wave.size());
    const int64_t stride = segments.stride();
    const int64_t padded = std::max(n + manifest.padding.samples(n), segments.length);
    const int64_t covering = (padded - segments.length + stride - 1) / stride + 1;
    // A window whose kept part lies in the padding is left out.
    const int64_t heard = n > segments.left ? (n - segments.left + stride - 1) / stride : 1;
    const int64_t count = std::max<int64_t>(1, std::min(covering, heard));
    std::vector<float> out(wave.size()), window(static_cast<size_t>(segments.length));
    for (int64_t index = 0; index < count; ++index) {
        const int64_t start = index * stride;
        std::fill(window.begin(), window.end(), 0.0F);
        const int64_t held = std::clamp<int64_t>(n - start, 0, segments.length);
        std::copy(wave.begin() + std::min(start, n), wave.begin() + std::min(start, n) + held, window.begin());
        std::vector<float> enhanced = function(window);
        enhanced.resize(window.size());
        const int64_t first = index > 0 ? segments.left : 0;
        const int64_t last = segments.length - (index < count - 1 ? segments.right : 0);
        const int64_t stop = std::min(last, n - start);
        if (stop > first) std::copy(enhanced.begin() + first, enhanced.begin() + stop, out.begin() + start + first);
    }
    return out;
}

// An utterance at the model's rate.
std::vector<float> enhance(const Model &model, const std::vector<float> &wave, const DenoiseSettings &settings) {
    WaveFunction function(model);
    const Manifest &manifest = model.manifest();
    const File &core = function.core();
    const auto n = static_cast<int64_t>(wave.size());
    const bool in_graph = core.role == "pipeline";
    if (in_graph && !settings.restore_level)
        throw Error(FRCRN_UNSUPPORTED, core.path + " restores the level inside; leave keep_level off");
    if (in_graph && n > manifest.segments.above)
        throw Error(FRCRN_OUTPUT, core.path + " takes at most " + std::to_string(manifest.segments.above) +
                                      " samples at once, got " + std::to_string(n) +
                                      "; export the core: frcrn-export onnx -o NEW_BUNDLE");
    const auto gain =
        static_cast<float>(measure_gain(wave, in_graph ? "none" : manifest.level, settings.restore_level));
    std::vector<float> scaled(wave.size());
    for (size_t i = 0; i < wave.size(); ++i) scaled[i] = wave[i] * gain;
    std::vector<float> enhanced;
    if (n <= manifest.segments.above && (in_graph || fits_whole(model, core, n))) {
        scaled.resize(static_cast<size_t>(n + (in_graph ? 0 : manifest.padding.samples(n))));
        enhanced = function(scaled);
        enhanced.resize(wave.size());
    } else {
        enhanced = in_windows(function, scaled, manifest);
    }
    if (settings.restore_level)
        for (float &value : enhanced) value /= gain;
    const auto share = static_cast<float>(settings.noisy_share);
    const auto rest = static_cast<float>(1 - settings.noisy_share);
    if (settings.noisy_share > 0)
        for (size_t i = 0; i < enhanced.size(); ++i) {
            const float noisy = settings.restore_level ? wave[i] : wave[i] * gain;
            enhanced[i] = share * noisy + rest * enhanced[i];
        }
    if (settings.check_finite)
        for (const float value : enhanced)
            if (!std::isfinite(value))
                throw Error(FRCRN_OUTPUT, core.path +
                                              " gave samples that are NaN or infinite; take "
                                              "precision fp32, or export the bundle again");
    return enhanced;
}

}  // namespace

void denoise(const Model &model, const float *in, float *out, size_t n, const DenoiseSettings &settings) {
    check_audio(in, n);
    const DenormalsAsZero mode;
    const Manifest &manifest = model.manifest();
    const int64_t rate = settings.sample_rate != 0 ? settings.sample_rate : manifest.sample_rate;
    std::vector<float> wave(in, in + n);
    // Before the rate: a resampler rings at the edges of DC.
    if (settings.high_pass && manifest.high_pass)
        high_pass_both_ways(wave, manifest.high_pass->cutoff_hz, static_cast<double>(rate));
    const auto length = static_cast<size_t>(resampled_length(static_cast<int64_t>(n), rate, manifest.sample_rate));
    wave = resampled(wave, rate, manifest.sample_rate, length);
    wave = enhance(model, wave, settings);
    wave = resampled(wave, manifest.sample_rate, rate, n);
    std::copy(wave.begin(), wave.end(), out);
}

}  // namespace frcrn
