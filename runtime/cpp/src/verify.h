// The networks, the transforms and whole streams against the reference outputs in `parity.npz`.
#pragma once

#include <functional>
#include <string>

#include "sessions/model.h"

namespace frcrn {

struct Comparison {
    std::string artifact, name;
    double snr_db = 0, max_abs = 0, floor_db = 0;
    bool passed = false;
};

// `report` is called for each comparison and ends the check where it gives false. Gives how many failed.
// Raises Error for a file that was altered or cannot run.
size_t verify(const Model &model, const std::function<bool(const Comparison &)> &report);

}  // namespace frcrn
