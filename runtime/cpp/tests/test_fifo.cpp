#include "streaming/fifo.h"

#include <random>

#include <doctest/doctest.h>

using frcrn::Fifo;

TEST_CASE("fifo: samples come in their order, whatever the pieces") {
    Fifo fifo(100);
    std::mt19937 random(3);
    float in = 0, out = 0;
    for (int round = 0; round < 2000; ++round) {
        const size_t give = random() % (fifo.room() + 1);
        float *to = fifo.extend(give);
        for (size_t i = 0; i < give; ++i) to[i] = in++;
        const size_t take = random() % (fifo.size() + 1);
        const float *from = fifo.read(take);
        for (size_t i = 0; i < take; ++i) REQUIRE(from[i] == out++);
        REQUIRE(fifo.size() + fifo.room() == 100);
        REQUIRE(static_cast<float>(fifo.size()) == in - out);
    }
}

TEST_CASE("fifo: beyond its ends") {
    Fifo fifo(3);
    fifo.extend(3);
    CHECK_THROWS_AS(fifo.extend(1), frcrn::Error);
    CHECK_THROWS_AS(fifo.read(4), frcrn::Error);
    fifo.clear();
    CHECK(fifo.size() == 0);
    CHECK_THROWS_AS(fifo.read(1), frcrn::Error);
    CHECK_NOTHROW(fifo.extend(3));
}
