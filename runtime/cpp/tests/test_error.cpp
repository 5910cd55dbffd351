#include "error.h"

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

using frcrn::guarded;

namespace {

struct Guard {
    frcrn_error error;
    char after[16];
};

}  // namespace

TEST_CASE("errors: a long text is cut, and nothing is written after it") {
    for (const size_t length : {0, 1, FRCRN_ERROR_TEXT - 1, FRCRN_ERROR_TEXT, FRCRN_ERROR_TEXT + 1, 100'000}) {
        Guard guard;
        std::memset(&guard, 0x5a, sizeof guard);
        const std::string text(length, 'x');
        CHECK(guarded(&guard.error, [&] { throw frcrn::Error(FRCRN_AUDIO, text); }) == FRCRN_AUDIO);
        CHECK(guard.error.status == FRCRN_AUDIO);
        CHECK(std::strlen(guard.error.text) == std::min<size_t>(length, FRCRN_ERROR_TEXT - 1));
        for (const char c : guard.after) CHECK(c == 0x5a);
    }
}

TEST_CASE("errors: success leaves an empty text") {
    frcrn_error error;
    std::memset(&error, 0x5a, sizeof error);
    CHECK(guarded(&error, [] {}) == FRCRN_OK);
    CHECK(error.status == FRCRN_OK);
    CHECK(error.text[0] == '\0');
}

TEST_CASE("errors: no exception leaves") {
    frcrn_error error;
    CHECK(guarded(&error, [] { throw std::bad_alloc(); }) == FRCRN_MEMORY);
    CHECK(guarded(&error, [] { throw std::runtime_error("why"); }) == FRCRN_INTERNAL);
    CHECK(std::string(error.text) == "why");
    CHECK(guarded(&error, [] { throw 1; }) == FRCRN_INTERNAL);
    CHECK(guarded(nullptr, [] { throw std::runtime_error("why"); }) == FRCRN_INTERNAL);
}

TEST_CASE("errors: text from outside") {
    CHECK(frcrn::shown("a\x1b[2J\nb\x7f") == "'a?[2J?b?'");
    CHECK(frcrn::shown(std::string(10'000, 'a')).size() == 205);
    CHECK(frcrn::number(8000) == "8000");
    CHECK(frcrn::number(0.5) == "0.5");
}
