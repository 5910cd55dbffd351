#include "bundle/npz.h"

#include <string>

#include <doctest/doctest.h>

#include "error.h"
#include "samples.h"

using namespace frcrn::samples;

namespace {

// Why a file is refused, or "" where it is read.
std::string refusal(const std::string &content) {
    const File file(content);
    try {
        frcrn::read_npz(file.path());
    } catch (const frcrn::Error &error) {
        CHECK(error.status == FRCRN_BUNDLE);
        const std::string text = error.what();
        CHECK(text.rfind(file.path() + ": not parity vectors (", 0) == 0);
        return text.substr(file.path().size());
    }
    return "";
}

std::string refusal_of(const std::string &array) { return refusal(zip({{"a.npy", array}})); }

// A number over the bytes of an archive.
std::string with(std::string archive, size_t at, uint64_t value, int bytes) {
    return archive.replace(at, static_cast<size_t>(bytes), little(value, bytes));
}

bool has(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("npz: arrays of all shapes") {
    const File file(zip({{"core.a.input.npy", npy("(2, 3)", {1, 2, 3, 4, 5, 6})},
                         {"scalar.npy", npy("()", {7})},
                         {"one.npy", npy("(2,)", {8, 9})},
                         {"none.npy", npy("(0, 4)", {})}}));
    const auto arrays = frcrn::read_npz(file.path());
    REQUIRE(arrays.size() == 4);
    CHECK(arrays.at("core.a.input").shape == std::vector<int64_t>{2, 3});
    CHECK(arrays.at("core.a.input").values == std::vector<float>{1, 2, 3, 4, 5, 6});
    CHECK(arrays.at("scalar").shape.empty());
    CHECK(arrays.at("one").values == std::vector<float>{8, 9});
    CHECK(arrays.at("none").values.empty());
}

TEST_CASE("npz: cut anywhere") {
    const std::string whole = zip({{"a.npy", npy("(2,)", {1, 2})}});
    CHECK(refusal(whole) == "");
    for (size_t bytes = 0; bytes < whole.size(); ++bytes) CHECK(refusal(whole.substr(0, bytes)) != "");
    for (size_t bytes = 1; bytes < whole.size(); ++bytes) CHECK(refusal(whole.substr(bytes)) != "");
}

TEST_CASE("npz: arrays that are none, or of another kind") {
    const auto header = [](const char *dtype, const char *order, const char *shape) {
        return std::string("{'descr': '") + dtype + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
    };
    CHECK(has(refusal_of(""), "truncated"));
    CHECK(has(refusal_of("\x93NUMPX" + std::string(100, ' ')), "no array"));
    CHECK(has(refusal_of(npy_of(header("<f8", "False", "(1,)"), "12345678")), "not float32"));
    CHECK(has(refusal_of(npy_of(header("|O", "False", "(1,)"), "12345678")), "not float32"));
    CHECK(has(refusal_of(npy_of(header("<f4", "True", "(1,)"), "1234")), "by columns"));
    CHECK(has(refusal_of(npy_of(header("<f4", "False", "1"), "1234")), "without a shape"));
    CHECK(has(refusal_of(npy_of(header("<f4", "False", "(1"), "1234")), "without a shape"));
    CHECK(has(refusal_of(npy_of(header("<f4", "False", "(-1,)"), "1234")), "a shape that is none"));
    CHECK(has(refusal_of(npy_of(header("<f4", "False", "(1,1,1,1,1,1,1,1,1)"), "1234")), "too many axes"));
    CHECK(has(refusal_of(npy_of(header("<f4", "False", "(2,)"), "1234")), "does not match its bytes"));
    CHECK(has(refusal_of("\x93NUMPY\x09" + std::string("\0\x02\0{}", 5)), "later version"));
    CHECK(has(refusal_of("\x93NUMPY\x02" + std::string("\0\xff\xff\xff\xff{}", 7)), "truncated"));
}

TEST_CASE("npz: sizes that would overflow") {
    for (const char *shape : {"(99999999999999999999,)", "(4611686018427387904, 4)", "(268435456, 268435456)",
                              "(65536, 65536, 65536, 65536, 65536)"})
        CHECK(has(refusal_of(npy(shape, {1})), "too large"));
}

TEST_CASE("npz: archives that lie") {
    const std::string whole = zip({{"a.npy", npy("(2,)", {1, 2})}});
    const size_t central = whole.find("PK\x01\x02"), end = whole.find("PK\x05\x06");
    CHECK(has(refusal(with(whole, central + 10, 8, 2)), "compressed; export the bundle again"));
    CHECK(has(refusal(with(whole, central + 24, 0xffffffff, 4)), "more than 4 GB"));
    CHECK(has(refusal(with(whole, central + 24, 0x7fffffff, 4)), "more than 256 MB"));
    CHECK(has(refusal(with(whole, central + 24, 1000, 4)), "truncated"));
    CHECK(has(refusal(with(whole, central + 28, 0xffff, 2)), "truncated"));
    CHECK(has(refusal(with(whole, central + 42, 0xfffffff0, 4)), "truncated"));
    CHECK(has(refusal(with(whole, central + 42, 1, 4)), "damaged"));
    CHECK(has(refusal(with(whole, end + 10, 2, 2)), "damaged"));
    CHECK(has(refusal(with(whole, end + 10, 0xffff, 2)), "too many arrays"));
    CHECK(has(refusal(with(whole, end + 16, 0xffffffff, 4)), "truncated"));
    CHECK(has(refusal("no archive at all, but of some length"), "not a zip archive"));
}

TEST_CASE("npz: many members of the same bytes are no way to more memory") {
    // 40 entries that name one member of 8 MB.
    std::string archive = zip({{"a.npy", npy("(2097152,)", std::vector<float>(2097152))}});
    const size_t central = archive.find("PK\x01\x02"), end = archive.find("PK\x05\x06");
    const std::string entry = archive.substr(central, end - central), tail = archive.substr(end);
    std::string many = archive.substr(0, central);
    for (int i = 0; i < 40; ++i) many += entry;
    many += with(tail, 10, 40, 2);
    CHECK(has(refusal(many), "more than 256 MB"));
}
