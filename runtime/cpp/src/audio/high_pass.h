// The high-pass against DC and infrasound, before the level: docs/bundle.md, "High-pass".
#pragma once

#include <cstddef>
#include <vector>

namespace frcrn {

// A Butterworth filter of second order forward in time, settled on its first sample.
class HighPassFilter {
public:
    HighPassFilter(double cutoff_hz, double sample_rate);

    void reset() { begun_ = false; }

    double operator()(double x) {
        if (!begun_) x1_ = x2_ = x, y1_ = y2_ = 0.0, begun_ = true;
        const double y = b_ * (x - 2 * x1_ + x2_) - a1_ * y1_ - a2_ * y2_;
        x2_ = x1_, x1_ = x, y2_ = y1_, y1_ = y;
        return y;
    }

    // Samples after which 1e-9 is left of a beginning.
    size_t settled() const;

private:
    double b_, a1_, a2_;
    double x1_ = 0, x2_ = 0, y1_ = 0, y2_ = 0;
    bool begun_ = false;
};

// A recording in place, forward and backward: no phase is shifted.
void high_pass_both_ways(std::vector<float> &wave, double cutoff_hz, double sample_rate);

}  // namespace frcrn
