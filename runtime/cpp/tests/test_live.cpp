#include "streaming/live.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using frcrn::Live;

namespace {

constexpr size_t kBlock = 64, kDelay = 200;

size_t unchanged(const float *in, size_t n, float *out) {
    std::copy(in, in + n, out);
    return n;
}

// Samples 1, 2, 3 ... in blocks of random sizes; what comes out.
std::vector<float> counted(Live &live, size_t samples, bool waits) {
    std::mt19937 random(1);
    std::vector<float> out;
    for (float next = 1; out.size() < samples;) {
        const size_t n = random() % (kBlock + 1);
        std::vector<float> block(n);
        for (float &x : block) x = next++;
        live.exchange(block.data(), block.data(), n, waits);
        out.insert(out.end(), block.begin(), block.end());
    }
    return out;
}

}  // namespace

TEST_CASE("live: with waiting, every sample comes, after the delay") {
    Live live(unchanged, kBlock, kBlock, kDelay);
    CHECK(live.delay() == kDelay);
    const std::vector<float> out = counted(live, 20'000, true);
    for (size_t i = 0; i < out.size(); ++i) REQUIRE(out[i] == (i < kDelay ? 0.0F : static_cast<float>(i - kDelay + 1)));
    CHECK(live.late_samples() == 0);
}

TEST_CASE("live: a slow worker gives silence that is counted, and never a sample in another's place") {
    std::atomic<int> calls{0};
    const auto slow = [&calls](const float *in, size_t n, float *out) {
        if (++calls % 8 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return unchanged(in, n, out);
    };
    Live live(slow, kBlock, kBlock, kDelay);
    const std::vector<float> out = counted(live, 50'000, false);
    size_t silent = 0, wrong = 0;
    for (size_t i = kDelay; i < out.size(); ++i) {
        if (out[i] == 0.0F)
            ++silent;
        else if (out[i] != static_cast<float>(i - kDelay + 1))
            ++wrong;
    }
    CHECK(wrong == 0);
    CHECK(silent > 0);
    CHECK(live.late_samples() > 0);
}

TEST_CASE("live: stopped at any time") {
    for (int samples = 0; samples < 2000; samples += 100) {
        Live live(unchanged, kBlock, kBlock, kDelay);
        counted(live, static_cast<size_t>(samples), false);
    }
    Live idle(unchanged, kBlock, kBlock, 0);
}
