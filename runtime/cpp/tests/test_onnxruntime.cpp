#include "sessions/onnxruntime.h"

#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include "fake_runtime.h"

using frcrn::OnnxRuntime;
using frcrn::samples::fake_runtime;

namespace {

std::string refusal(const void *base, const std::string &library) {
    try {
        const OnnxRuntime runtime(base, library);
        return "";
    } catch (const frcrn::Error &error) {
        CHECK(error.status == FRCRN_RUNTIME);
        return error.what();
    }
}

bool has(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("ONNX Runtime: a library that is not there names what was tried, and what to give") {
    const std::string said = refusal(nullptr, "/nowhere/libonnxruntime.so.1");
    CHECK(has(said, "/nowhere/libonnxruntime.so.1 ("));
    CHECK(has(said, "No such file"));
    CHECK(has(said, "give the path of its library"));
}

TEST_CASE("ONNX Runtime: a library that is something else") {
    CHECK(has(refusal(nullptr, "libm.so.6"), "libm.so.6 (no ONNX Runtime: OrtGetApiBase is missing)"));
}

// ctest runs it again with a folder of LD_LIBRARY_PATH that holds the one name or none.
TEST_CASE("ONNX Runtime: a library with its minor version, as distributions name it") {
    const char *expected = std::getenv("FRCRN_TEST_FOUND");
    // A system that has one under its plain name is asked for that first.
    if (expected == nullptr || refusal(nullptr, "libonnxruntime.so.1").empty()) return;
    if (std::string(expected) == "none") {
        const std::string said = refusal(nullptr, "");
        CHECK(has(said, "libonnxruntime.so.1 (libonnxruntime.so.1: cannot open shared object file"));
        CHECK(has(said, "libonnxruntime.so.1.17 to .99; set FRCRN_ONNXRUNTIME"));
    } else {
        CHECK(OnnxRuntime(nullptr, "").version() == std::string(expected));
    }
}

TEST_CASE("ONNX Runtime: too old a one says its version and what to take") {
    const std::string said = refusal(fake_runtime<16>(), "");
    CHECK(has(said, "1.0-fake is too old"));
    CHECK(has(said, "1.17"));
}

TEST_CASE("ONNX Runtime: the oldest that does has no plugin providers") {
    const OnnxRuntime runtime(fake_runtime<17>(), "");
    CHECK(runtime.version() == "1.0-fake");
    CHECK_THROWS_WITH_AS(runtime.plugin_api(),
                         "ONNX Runtime 1.0-fake has no plugin providers (C API 22); take 1.22 or later", frcrn::Error);
    const OnnxRuntime later(fake_runtime<22>(), "");
    CHECK_NOTHROW(later.plugin_api());
}
