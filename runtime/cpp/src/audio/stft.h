// Frames of the short-time Fourier transform, in double: docs/bundle.md, "Transform".
#pragma once

#include <complex>
#include <cstdint>
#include <string>
#include <vector>

#include "audio/fft.h"
#include "bundle/manifest.h"

namespace frcrn {

// Added to the overlap-added windows: keeps the division defined at the edges.
constexpr double kWindowSumEps = 1e-8;

// One frame there and back. Not for several threads at once: it owns its scratch memory.
class FrameTransform {
public:
    explicit FrameTransform(const StftSpec &spec);

    const StftSpec &spec() const { return spec_; }
    // The analysis window times the synthesis window, [window_length].
    const std::vector<double> &window_product() const { return product_; }

    // samples [window_length] to bin k at real[k * stride] and imaginary[k * stride].
    void analyse(const float *samples, float *real, float *imaginary, int64_t stride);

    // Back: a windowed frame [window_length], not yet added up.
    void synthesise(const float *real, const float *imaginary, int64_t stride, double *frame);

private:
    StftSpec spec_;
    RealFft fft_;
    std::vector<double> window_, synthesis_, product_, samples_;
    std::vector<std::complex<double>> bins_;
};

// A whole signal [n] to its spectrum [2, bins, frames(n)].
std::vector<float> analyse(FrameTransform &transform, const float *wave, int64_t n);

// A spectrum [2, bins, frames] to the signal [samples(frames)].
std::vector<float> synthesise(FrameTransform &transform, const float *spec, int64_t frames);

}  // namespace frcrn
