#include "audio/fft.h"

#include <cmath>
#include <complex>
#include <random>
#include <vector>

#include <doctest/doctest.h>

using Complex = std::complex<double>;

namespace {

std::vector<double> noise(size_t n) {
    std::mt19937 random(static_cast<unsigned>(n));
    std::normal_distribution<double> normal;
    std::vector<double> out(n);
    for (double &x : out) x = normal(random);
    return out;
}

Complex direct(const std::vector<double> &samples, size_t bin) {
    Complex sum = 0;
    for (size_t n = 0; n < samples.size(); ++n)
        sum += samples[n] * std::polar(1.0, -2 * M_PI * static_cast<double>(bin * n % samples.size()) /
                                                static_cast<double>(samples.size()));
    return sum;
}

}  // namespace

// 514 is twice a prime, for which kissfft has no fast way.
TEST_CASE("fft: the direct transform, there and back") {
    for (const size_t length : {2, 4, 6, 10, 320, 512, 514, 640, 1022}) {
        CAPTURE(length);
        frcrn::RealFft fft(length);
        const std::vector<double> samples = noise(length);
        std::vector<Complex> bins(length / 2 + 1);
        fft.forward(samples.data(), bins.data());
        double worst = 0;
        for (size_t k = 0; k < bins.size(); ++k) worst = std::max(worst, std::abs(bins[k] - direct(samples, k)));
        CHECK(worst < 1e-11 * static_cast<double>(length));

        std::vector<double> back(length);
        fft.inverse(bins.data(), back.data());
        worst = 0;
        for (size_t n = 0; n < length; ++n) worst = std::max(worst, std::fabs(back[n] - samples[n]));
        CHECK(worst < 1e-13 * static_cast<double>(length));
    }
}

TEST_CASE("fft: the imaginary parts of the first and last bin do not count") {
    frcrn::RealFft fft(8);
    std::vector<Complex> bins = {{1, 0}, {2, 3}, {4, 5}, {6, 7}, {8, 0}}, other = bins;
    other.front() = {1, 99}, other.back() = {8, -99};
    std::vector<double> one(8), two(8);
    fft.inverse(bins.data(), one.data());
    fft.inverse(other.data(), two.data());
    CHECK(one == two);
}
