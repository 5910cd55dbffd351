#include "audio/high_pass.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

namespace {

// The recursion as docs/bundle.md writes it, over the whole signal.
std::vector<double> filtered(const std::vector<double> &x, double cutoff_hz, double sample_rate) {
    const double k = std::tan(M_PI * cutoff_hz / sample_rate), root = std::sqrt(2.0) * k;
    const double b = 1 / (1 + root + k * k), a1 = 2 * b * (k * k - 1), a2 = b * (1 - root + k * k);
    std::vector<double> y(x.size());
    for (size_t n = 0; n < x.size(); ++n) {
        const double x1 = x[n > 0 ? n - 1 : 0], x2 = n > 1 ? x[n - 2] : x[0];
        y[n] = b * (x[n] - 2 * x1 + x2) - a1 * (n > 0 ? y[n - 1] : 0.0) - a2 * (n > 1 ? y[n - 2] : 0.0);
    }
    return y;
}

std::vector<double> both_ways(const std::vector<float> &wave, double cutoff_hz, double sample_rate) {
    std::vector<double> y = filtered({wave.begin(), wave.end()}, cutoff_hz, sample_rate);
    std::reverse(y.begin(), y.end());
    y = filtered(y, cutoff_hz, sample_rate);
    std::reverse(y.begin(), y.end());
    return y;
}

std::vector<float> noise(size_t n, float offset) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal(offset, 0.1F);
    std::vector<float> out(n);
    for (float &x : out) x = normal(random);
    return out;
}

}  // namespace

TEST_CASE("high-pass: in blocks as over the whole") {
    for (const double cutoff : {10.0, 20.0, 200.0})
        for (const size_t n : {size_t{1}, size_t{2}, size_t{1000}, size_t{65536}, size_t{65537}, size_t{200'000}}) {
            CAPTURE(cutoff);
            CAPTURE(n);
            std::vector<float> wave = noise(n, 0.3F);
            const std::vector<double> expected = both_ways(wave, cutoff, 16000);
            frcrn::high_pass_both_ways(wave, cutoff, 16000);
            double worst = 0;
            for (size_t i = 0; i < n; ++i) worst = std::max(worst, std::fabs(wave[i] - expected[i]));
            CHECK(worst < 5e-8);
        }
    std::vector<float> none;
    CHECK_NOTHROW(frcrn::high_pass_both_ways(none, 20, 16000));
}

TEST_CASE("high-pass: a constant is nothing from its first sample on, a tone stays") {
    frcrn::HighPassFilter filter(20, 16000);
    for (int n = 0; n < 1000; ++n) CHECK(std::fabs(filter(0.5)) < 1e-12);
    filter.reset();
    double before = 0, after = 0;
    for (int n = 0; n < 48000; ++n) {
        const double x = std::sin(2 * M_PI * 300 * n / 16000), y = filter(x);
        if (n >= 16000) before += x * x, after += y * y;
    }
    CHECK(after / before == doctest::Approx(1).epsilon(1e-4));
}

TEST_CASE("high-pass: half the power at its cutoff") {
    frcrn::HighPassFilter filter(20, 16000);
    double before = 0, after = 0;
    for (int n = 0; n < 160'000; ++n) {
        const double x = std::sin(2 * M_PI * 20 * n / 16000), y = filter(x);
        if (n >= 80'000) before += x * x, after += y * y;
    }
    CHECK(after / before == doctest::Approx(0.5).epsilon(1e-3));
}
