#include "audio/fft.h"

#include <cmath>

#include "audio/pi.h"

// A real signal of length N is a complex one of length N / 2, its even samples the real part and its
// odd samples the imaginary part; the spectra E and O of both are told apart by their symmetry.

namespace frcrn {

RealFft::RealFft(size_t length)
    : half_(length / 2),
      forward_(half_, false),
      inverse_(half_, true),
      turned_(half_ + 1),
      packed_(half_),
      result_(half_) {
    for (size_t k = 0; k <= half_; ++k)
        turned_[k] = std::polar(1.0, 2 * kPi * static_cast<double>(k) / static_cast<double>(length));
    // The transform of a prime length finds its scratch memory in its first call.
    forward_.transform(packed_.data(), result_.data());
    inverse_.transform(packed_.data(), result_.data());
}

void RealFft::forward(const double *samples, std::complex<double> *bins) {
    for (size_t n = 0; n < half_; ++n) packed_[n] = {samples[2 * n], samples[2 * n + 1]};
    forward_.transform(packed_.data(), result_.data());
    for (size_t k = 0; k <= half_; ++k) {
        const std::complex<double> z = result_[k % half_];
        const std::complex<double> mirrored = std::conj(result_[(half_ - k) % half_]);
        const std::complex<double> even = 0.5 * (z + mirrored);
        const std::complex<double> odd = std::complex<double>(0, -0.5) * (z - mirrored);
        bins[k] = even + std::conj(turned_[k]) * odd;
    }
}

void RealFft::inverse(const std::complex<double> *bins, double *samples) {
    for (size_t k = 0; k < half_; ++k) {
        std::complex<double> bin = bins[k], mirrored = std::conj(bins[half_ - k]);
        if (k == 0) bin = bin.real(), mirrored = mirrored.real();
        const std::complex<double> even = 0.5 * (bin + mirrored);
        const std::complex<double> odd = 0.5 * (bin - mirrored) * turned_[k];
        packed_[k] = even + std::complex<double>(0, 1) * odd;
    }
    inverse_.transform(packed_.data(), result_.data());
    const double scale = 1.0 / static_cast<double>(half_);
    for (size_t n = 0; n < half_; ++n) {
        samples[2 * n] = scale * result_[n].real();
        samples[2 * n + 1] = scale * result_[n].imag();
    }
}

}  // namespace frcrn
