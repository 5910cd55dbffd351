// A check of ONNX files without a library: what an untrusted file must not contain.
#pragma once

#include <string>

namespace frcrn {

// What an ONNX file holds and must not (docs/bundle.md, "A bundle from somebody else"), or "".
// `compiled_allowed`: the file is an EPContext file, whose engine is checked by its own hash.
// Raises Error(FRCRN_BUNDLE) for bytes that are not ONNX.
std::string foreign_part(const std::string &path, bool compiled_allowed = false);

}  // namespace frcrn
