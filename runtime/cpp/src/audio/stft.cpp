#include "audio/stft.h"

#include <algorithm>
#include <cmath>

#include "audio/pi.h"
#include "error.h"

namespace frcrn {
namespace {

// A periodic window, rounded to float32 as the network was trained with.
std::vector<double> periodic_window(const std::string &kind, int64_t length) {
    std::vector<double> window(static_cast<size_t>(length));
    for (int64_t n = 0; n < length; ++n) {
        const double angle = 2 * kPi * static_cast<double>(n) / static_cast<double>(length);
        const double value = kind == "hann"      ? 0.5 - 0.5 * std::cos(angle)
                             : kind == "hamming" ? 0.54 - 0.46 * std::cos(angle)
                                                 : std::sin(angle / 2);
        window[static_cast<size_t>(n)] = static_cast<float>(value);
    }
    return window;
}

}  // namespace

FrameTransform::FrameTransform(const StftSpec &spec)
    : spec_(spec),
      fft_(static_cast<size_t>(spec.fft_length)),
      window_(periodic_window(spec.window, spec.window_length)),
      synthesis_(periodic_window(spec.synthesis_window, spec.window_length)),
      product_(window_.size()),
      samples_(static_cast<size_t>(spec.fft_length)),
      bins_(static_cast<size_t>(spec.bins())) {
    for (size_t n = 0; n < window_.size(); ++n) product_[n] = window_[n] * synthesis_[n];
}

void FrameTransform::analyse(const float *samples, float *real, float *imaginary, int64_t stride) {
    std::fill(samples_.begin(), samples_.end(), 0.0);
    double *first = samples_.data() + spec_.offset();
    for (size_t n = 0; n < window_.size(); ++n) first[n] = window_[n] * samples[n];
    fft_.forward(samples_.data(), bins_.data());
    for (int64_t k = 0; k < spec_.bins(); ++k) {
        const std::complex<double> bin = bins_[static_cast<size_t>(k)];
        real[k * stride] = static_cast<float>(bin.real());
        imaginary[k * stride] = static_cast<float>(bin.imag());
    }
}

// Not centred, the inverse is the pseudo-inverse (K'K)^-1 K' of the DFT's basis K, cut to the window
// length W of an N-point DFT: K's = N/2 irfft(s) with the bins at 0 and N/2 counted twice, and
// K'K = N/2 I + (u u' + v v') / 2 with u = (1, 1, ...), v = (1, -1, ...).
void FrameTransform::synthesise(const float *real, const float *imaginary, int64_t stride, double *frame) {
    const double twice = spec_.center ? 1.0 : 2.0;
    for (int64_t k = 0; k < spec_.bins(); ++k) {
        const double scale = k == 0 || k == spec_.bins() - 1 ? twice : 1.0;
        bins_[static_cast<size_t>(k)] = {scale * real[k * stride], scale * imaginary[k * stride]};
    }
    fft_.inverse(bins_.data(), samples_.data());
    const double *first = samples_.data() + spec_.offset();
    const size_t length = window_.size();
    double even = 0, odd = 0;
    if (!spec_.center) {
        for (size_t n = 0; n < length; n += 2) even += first[n], odd += first[n + 1];
        const double share = 2.0 / static_cast<double>(spec_.fft_length + spec_.window_length);
        even *= share, odd *= share;
    }
    for (size_t n = 0; n < length; n += 2) {
        frame[n] = synthesis_[n] * (first[n] - even);
        frame[n + 1] = synthesis_[n + 1] * (first[n + 1] - odd);
    }
}

std::vector<float> analyse(FrameTransform &transform, const float *wave, int64_t n) {
    const StftSpec &spec = transform.spec();
    if (n < spec.shortest()) throw Error(FRCRN_INTERNAL, "a signal of " + std::to_string(n) + " samples is too short");
    const int64_t margin = spec.margin(), frames = spec.frames(n);
    std::vector<float> padded(static_cast<size_t>(n + 2 * margin));
    std::copy(wave, wave + n, padded.begin() + margin);
    if (spec.mirrors())
        for (int64_t i = 1; i <= margin; ++i) {
            padded[static_cast<size_t>(margin - i)] = wave[i];
            padded[static_cast<size_t>(margin + n - 1 + i)] = wave[n - 1 - i];
        }
    const int64_t half = spec.bins() * frames;
    std::vector<float> out(static_cast<size_t>(2 * half));
    for (int64_t t = 0; t < frames; ++t)
        transform.analyse(padded.data() + t * spec.hop_length, out.data() + t, out.data() + half + t, frames);
    return out;
}

std::vector<float> synthesise(FrameTransform &transform, const float *spectrum, int64_t frames) {
    const StftSpec &spec = transform.spec();
    const int64_t W = spec.window_length, whole = W + spec.hop_length * (frames - 1);
    std::vector<double> sum(static_cast<size_t>(whole)), weight(static_cast<size_t>(whole)),
        frame(static_cast<size_t>(W));
    const std::vector<double> &product = transform.window_product();
    for (int64_t t = 0; t < frames; ++t) {
        transform.synthesise(spectrum + t, spectrum + spec.bins() * frames + t, frames, frame.data());
        const int64_t start = t * spec.hop_length;
        for (int64_t n = 0; n < W; ++n) {
            sum[static_cast<size_t>(start + n)] += frame[static_cast<size_t>(n)];
            weight[static_cast<size_t>(start + n)] += product[static_cast<size_t>(n)];
        }
    }
    std::vector<float> out(static_cast<size_t>(spec.samples(frames)));
    for (size_t n = 0; n < out.size(); ++n) {
        const size_t at = n + static_cast<size_t>(spec.margin());
        out[n] = static_cast<float>(sum[at] / (weight[at] + kWindowSumEps));
    }
    return out;
}

}  // namespace frcrn
