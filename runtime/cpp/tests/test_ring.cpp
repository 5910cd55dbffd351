#include "streaming/ring.h"

#include <random>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using frcrn::Ring;

TEST_CASE("ring: full and empty") {
    Ring ring(3);
    const std::vector<float> samples = {1, 2, 3, 4};
    std::vector<float> out(4);
    CHECK(ring.read(out.data(), 4) == 0);
    CHECK(ring.write(samples.data(), 4) == 3);
    CHECK(ring.room() == 0);
    CHECK(ring.write(samples.data(), 1) == 0);
    CHECK(ring.read(nullptr, 1) == 1);
    CHECK(ring.write(samples.data() + 3, 1) == 1);
    CHECK(ring.read(out.data(), 4) == 3);
    CHECK(out[0] == 2);
    CHECK(out[2] == 4);
}

TEST_CASE("ring: two threads lose nothing and repeat nothing") {
    constexpr int kSamples = 200'000;
    Ring ring(97);
    std::thread writer([&ring] {
        std::mt19937 random(1);
        std::vector<float> block(64);
        for (int next = 0; next < kSamples;) {
            const size_t n = std::min<size_t>(random() % block.size() + 1, kSamples - static_cast<size_t>(next));
            for (size_t i = 0; i < n; ++i) block[i] = static_cast<float>(next + static_cast<int>(i));
            const size_t written = ring.write(block.data(), n);
            next += static_cast<int>(written);
            if (written == 0) std::this_thread::yield();
        }
    });
    std::mt19937 random(2);
    std::vector<float> block(64);
    int expected = 0, wrong = 0;
    while (expected < kSamples) {
        const size_t n = ring.read(block.data(), random() % block.size() + 1);
        for (size_t i = 0; i < n; ++i) wrong += block[i] != static_cast<float>(expected++);
        if (n == 0) std::this_thread::yield();
    }
    writer.join();
    CHECK(wrong == 0);
    CHECK(ring.size() == 0);
}
