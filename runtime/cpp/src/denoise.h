// Whole recordings: high-pass, rate, level, the core over the whole or over windows, and back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sessions/model.h"

namespace frcrn {

struct DenoiseSettings {
    int64_t sample_rate = 0;  // 0 is the model's
    bool restore_level = true;
    double noisy_share = 0.0;
    bool check_finite = true;  // of the network's output
    bool high_pass = true;     // where the bundle has one
};

// in [n] to out [n], which may be the same. Raises Error.
void denoise(const Model &model, const float *in, float *out, size_t n, const DenoiseSettings &settings);

}  // namespace frcrn
