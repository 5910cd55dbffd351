#include "audio/level.h"

#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "error.h"

using frcrn::measure_gain;
using frcrn::StreamLevel;

namespace {

const double kTarget = std::pow(10.0, -25.0 / 20.0);

std::vector<float> noise(size_t n, float scale) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0F, scale);
    std::vector<float> out(n);
    for (float &x : out) x = normal(random);
    return out;
}

std::vector<float> gains_of(StreamLevel &level, const std::vector<float> &wave) {
    std::vector<float> gains(wave.size(), -1.0F);
    level.gains(wave.data(), gains.data(), wave.size());
    return gains;
}

}  // namespace

TEST_CASE("level: silence keeps its level") {
    const std::vector<float> silence(100);
    for (const char *rule : {"active_rms", "peak", "none"}) CHECK(measure_gain(silence, rule, true) == 1.0);
    CHECK(measure_gain(std::vector<float>(10, 1e-40F), "peak", true) == 1.0);
}

TEST_CASE("level: a signal of constant magnitude has no sample above its mean") {
    std::vector<float> square(1000, 0.5F);
    for (size_t i = 0; i < square.size(); i += 2) square[i] = -0.5F;
    CHECK(measure_gain(square, "active_rms", true) == doctest::Approx(kTarget / 0.5).epsilon(1e-5));
    CHECK(measure_gain(square, "peak", true) == 2.0);
}

TEST_CASE("level: the active samples come to -25 dBFS") {
    std::vector<float> wave = noise(10'000, 0.01F);
    const double gain = measure_gain(wave, "active_rms", false);
    double mean = 0, active = 0, count = 0;
    for (const float x : wave) mean += static_cast<double>(x) * x / 10'000;
    for (const float x : wave)
        if (static_cast<double>(x) * x > mean) active += static_cast<double>(x) * x, ++count;
    CHECK(gain * std::sqrt(active / count) == doctest::Approx(kTarget).epsilon(1e-6));
    CHECK(measure_gain(wave, "none", true) == 1.0);
}

TEST_CASE("stream level: silence, and a gain that rises by 20 dB a second at most") {
    StreamLevel level("active_rms", 0.0, 16000, 320);
    for (const float gain : gains_of(level, std::vector<float>(16000))) REQUIRE(gain == 1.0F);
    const std::vector<float> gains = gains_of(level, noise(16000, 0.001F));
    CHECK(gains.back() > 9.0F);
    CHECK(gains.back() <= 10.0F * 1.0001F);
    level.reset();
    CHECK(gains_of(level, std::vector<float>(320)).back() == 1.0F);
}

TEST_CASE("stream level: blocks of any size whose sum is an interval's multiple begin with the remainder") {
    for (const char *rule : {"active_rms", "peak"}) {
        StreamLevel one(rule, 0.0, 16000, 320), two(rule, 0.0, 16000, 320);
        const std::vector<float> wave = noise(320 * 5 + 100, 0.2F);
        const std::vector<float> whole = gains_of(one, wave);
        // The same in pieces: 420 and then 320 each.
        std::vector<float> pieces(wave.size());
        size_t at = 0;
        for (const size_t n : {420, 320, 320, 320, 320}) {
            two.gains(wave.data() + at, pieces.data() + at, n);
            at += n;
        }
        CHECK(pieces == whole);
    }
}

TEST_CASE("stream level: a peak is forgotten after ten seconds of sound") {
    StreamLevel level("peak", 0.0, 1000, 100);
    std::vector<float> wave(30'000, 0.25F);
    wave[0] = 1.0F;
    const std::vector<float> gains = gains_of(level, wave);
    CHECK(gains[5000] == 1.0F);
    CHECK(gains.back() == doctest::Approx(4.0));
}

TEST_CASE("stream level: fixed gains") {
    StreamLevel level("active_rms", 3.0, 16000, 320);
    CHECK(gains_of(level, noise(7, 1.0F)) == std::vector<float>(7, 3.0F));
    StreamLevel none("none", 0.0, 16000, 320);
    CHECK(gains_of(none, noise(7, 1.0F)) == std::vector<float>(7, 1.0F));
    for (const double wrong : {-1.0, 1e-7, 1e7, std::nan(""), HUGE_VAL})
        CHECK_THROWS_AS(StreamLevel("active_rms", wrong, 16000, 320), frcrn::Error);
}

TEST_CASE("stream level: extreme samples leave finite gains") {
    StreamLevel level("active_rms", 0.0, 16000, 320);
    for (const float gain : gains_of(level, std::vector<float>(3200, 65536.0F)))
        REQUIRE((gain >= 1e-6F && gain <= 100.0F));
    for (const float gain : gains_of(level, std::vector<float>(160'000, 1e-3F)))
        REQUIRE((gain >= 1e-6F && gain <= 100.0F));
}
