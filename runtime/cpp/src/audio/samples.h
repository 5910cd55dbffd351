// What a sample may be.
#pragma once

#include <cmath>

namespace frcrn {

// A larger sample cannot be audio, not even unscaled 16-bit values. False for NaN.
inline bool is_usable(float sample) { return std::fabs(sample) <= 65536.0F; }

}  // namespace frcrn
