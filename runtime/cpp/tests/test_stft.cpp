#include "audio/stft.h"

#include <cmath>
#include <complex>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "error.h"

using frcrn::FrameTransform;
using frcrn::StftSpec;

namespace {

StftSpec spec_of(int64_t window, int64_t hop, int64_t fft, const char *kind, bool center, const char *pad = "reflect") {
    StftSpec spec;
    spec.window_length = window, spec.hop_length = hop, spec.fft_length = fft;
    spec.window = spec.synthesis_window = kind;
    spec.center = center;
    spec.pad_mode = pad;
    return spec;
}

std::vector<float> noise(int64_t n) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0F, 0.1F);
    std::vector<float> out(static_cast<size_t>(n));
    for (float &x : out) x = normal(random);
    return out;
}

const std::vector<StftSpec> kSpecs = {
    spec_of(640, 320, 640, "sqrt_hann", false), spec_of(400, 100, 512, "sqrt_hann", false),
    spec_of(400, 200, 514, "hamming", false),   spec_of(512, 128, 512, "hann", true),
    spec_of(400, 100, 512, "hann", true),       spec_of(320, 160, 320, "sqrt_hann", true, "zeros"),
};

}  // namespace

TEST_CASE("stft: a signal comes back") {
    for (const StftSpec &spec : kSpecs) {
        CAPTURE(spec.window_length);
        CAPTURE(spec.center);
        FrameTransform transform(spec);
        const int64_t frames = 20, n = spec.samples(frames);
        REQUIRE(spec.frames(n) == frames);
        const std::vector<float> wave = noise(n);
        const std::vector<float> back = synthesise(transform, analyse(transform, wave.data(), n).data(), frames);
        REQUIRE(back.size() == wave.size());
        // Not centred, the first and last window's edges have nothing to be divided by.
        const int64_t edge = spec.center ? 0 : spec.window_length;
        double worst = 0;
        for (int64_t i = edge; i < n - edge; ++i)
            worst = std::max(
                worst, std::fabs(static_cast<double>(back[static_cast<size_t>(i)]) - wave[static_cast<size_t>(i)]));
        CHECK(worst < 1e-6);
    }
}

TEST_CASE("stft: a bin is the sum that defines it") {
    const StftSpec spec = spec_of(8, 4, 10, "hann", true);
    FrameTransform transform(spec);
    const std::vector<float> wave = noise(21);
    const int64_t frames = spec.frames(21);
    const std::vector<float> spectrum = analyse(transform, wave.data(), 21);
    for (int64_t t = 0; t < frames; ++t)
        for (int64_t k = 0; k < spec.bins(); ++k) {
            std::complex<double> sum = 0;
            for (int64_t n = 0; n < 8; ++n) {
                int64_t at = std::abs(t * 4 + n - 4);  // mirrored at both ends
                if (at > 20) at = 40 - at;
                const double window = 0.5 - 0.5 * std::cos(2 * M_PI * static_cast<double>(n) / 8);
                // The window lies in the middle of the FFT's input.
                sum += window * wave[static_cast<size_t>(at)] *
                       std::polar(1.0, -2 * M_PI * static_cast<double>(k * (n + 1)) / 10);
            }
            const auto at = static_cast<size_t>(k * frames + t);
            CHECK(spectrum[at] == doctest::Approx(sum.real()).epsilon(1e-5));
            CHECK(spectrum[static_cast<size_t>(spec.bins() * frames) + at] ==
                  doctest::Approx(sum.imag()).epsilon(1e-5));
        }
}

TEST_CASE("stft: a signal that is too short") {
    for (const StftSpec &spec : kSpecs) {
        FrameTransform transform(spec);
        const std::vector<float> wave = noise(spec.shortest());
        CHECK_NOTHROW(analyse(transform, wave.data(), spec.shortest()));
        CHECK_THROWS_AS(analyse(transform, wave.data(), spec.shortest() - 1), frcrn::Error);
    }
}
