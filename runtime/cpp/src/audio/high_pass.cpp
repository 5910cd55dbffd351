#include "audio/high_pass.h"

#include <algorithm>
#include <cmath>

#include "audio/pi.h"

namespace frcrn {
namespace {

constexpr size_t kBlock = 1 << 16;
constexpr double kSettled = 1e-9;

}  // namespace

HighPassFilter::HighPassFilter(double cutoff_hz, double sample_rate) {
    const double k = std::tan(kPi * cutoff_hz / sample_rate);
    b_ = 1 / (1 + std::sqrt(2.0) * k + k * k);
    a1_ = 2 * b_ * (k * k - 1);
    a2_ = b_ * (1 - std::sqrt(2.0) * k + k * k);
}

size_t HighPassFilter::settled() const {
    const double magnitude = std::sqrt(a2_);  // of the complex pair of poles
    return static_cast<size_t>(std::ceil(std::log(kSettled) / std::log(magnitude)));
}

// The way back begins a little after each block, late enough that its beginning has settled; so memory
// holds a block in double, and not the recording.
void high_pass_both_ways(std::vector<float> &wave, double cutoff_hz, double sample_rate) {
    HighPassFilter forward(cutoff_hz, sample_rate), backward(cutoff_hz, sample_rate);
    const size_t margin = forward.settled(), n = wave.size();
    std::vector<double> held;  // filtered forward, from `start`
    held.reserve(kBlock + margin);
    size_t next = 0;
    for (size_t start = 0; start < n; start += kBlock) {
        const size_t stop = std::min(start + kBlock, n);
        while (next < std::min(stop + margin, n)) held.push_back(forward(wave[next++]));
        backward.reset();
        for (size_t i = held.size(); i > stop - start; --i) backward(held[i - 1]);
        for (size_t i = stop - start; i > 0; --i) wave[start + i - 1] = static_cast<float>(backward(held[i - 1]));
        held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(stop - start));
    }
}

}  // namespace frcrn
