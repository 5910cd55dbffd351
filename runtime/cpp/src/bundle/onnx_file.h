// A check of ONNX files without a library: what an untrusted file must not contain.
#pragma once

#include <string>

namespace frcrn {

// What an ONNX file holds and must not (docs/bundle.md, "A bundle from somebody else"), or "".
// Raises Error(FRCRN_BUNDLE) for bytes that are not ONNX.
std::string foreign_part(const std::string &path);

// What an EPContext file holds beside one node that names `engine` beside it, or "". An execution provider
// opens whatever such a file names, and takes an engine inside it without a check.
// Raises Error(FRCRN_BUNDLE) for bytes that are not ONNX.
std::string foreign_part_of_context(const std::string &path, const std::string &engine);

}  // namespace frcrn
