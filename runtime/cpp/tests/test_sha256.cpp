#include "bundle/sha256.h"

#include <string>

#include <doctest/doctest.h>

using frcrn::Sha256;

namespace {

std::string digest(const std::string &text) {
    Sha256 sha;
    sha.add(text.data(), text.size());
    return sha.hex();
}

}  // namespace

// The examples that NIST publishes with FIPS 180-4.
TEST_CASE("sha256: the published vectors") {
    CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(digest(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256: however the bytes arrive") {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 31);
    const std::string whole = digest(text);
    for (const size_t piece : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{130}}) {
        Sha256 sha;
        for (size_t at = 0; at < text.size(); at += piece) sha.add(text.data() + at, std::min(piece, text.size() - at));
        CHECK(sha.hex() == whole);
    }
}

TEST_CASE("sha256: the length at every place in a block") {
    // With 55 bytes the padding just fits into the block, with 56 it takes another.
    CHECK(digest(std::string(55, 'a')) == "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    CHECK(digest(std::string(56, 'a')) == "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
    CHECK(digest(std::string(64, 'a')) == "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}
