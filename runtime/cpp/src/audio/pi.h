#pragma once

namespace frcrn {

constexpr double kPi = 3.14159265358979323846;

}
