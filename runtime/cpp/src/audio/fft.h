// The discrete Fourier transform of real signals of even length, in double; allocates when it is made.
#pragma once

#include <complex>
#include <cstddef>
#include <vector>

#include <kissfft/kissfft.hh>

namespace frcrn {

class RealFft {
public:
    explicit RealFft(size_t length);

    size_t length() const { return 2 * half_; }

    // [length] samples to [length / 2 + 1] bins.
    void forward(const double *samples, std::complex<double> *bins);

    // Back, scaled by 1 / length; the imaginary parts of the first and last bin do not count.
    void inverse(const std::complex<double> *bins, double *samples);

private:
    size_t half_;
    kissfft<double> forward_, inverse_;
    std::vector<std::complex<double>> turned_;  // e^(2 pi i k / length)
    std::vector<std::complex<double>> packed_, result_;
};

}  // namespace frcrn
