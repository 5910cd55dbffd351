// Reading an untrusted, uncompressed `.npz` of float32 arrays: docs/bundle.md, "parity.npz".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace frcrn {

struct Array {
    std::vector<int64_t> shape;
    std::vector<float> values;  // the last axis is the fastest
};

// The arrays by name. Raises Error(FRCRN_BUNDLE) for anything else than such a file.
std::map<std::string, Array> read_npz(const std::string &path);

}  // namespace frcrn
