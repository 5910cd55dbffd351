#include "denormals.h"

#include <cfloat>
#include <stdexcept>

#include <doctest/doctest.h>

namespace {

bool has_denormals() {
    volatile float smallest = FLT_MIN;
    volatile float half = smallest / 2;
    return half != 0.0F;
}

}  // namespace

TEST_CASE("denormals: zero for the call, then as before") {
    REQUIRE(has_denormals());
    {
        const frcrn::DenormalsAsZero outer;
#if defined(__SSE__) || defined(__aarch64__)
        CHECK_FALSE(has_denormals());
#endif
        {
            const frcrn::DenormalsAsZero inner;
        }
        CHECK_FALSE(has_denormals());
    }
    CHECK(has_denormals());
    try {
        const frcrn::DenormalsAsZero mode;
        throw std::runtime_error("");
    } catch (const std::exception &) {
    }
    CHECK(has_denormals());
}
