// Resampling of one channel, block by block, with soxr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace frcrn {

class Resampler {
public:
    // Equal rates pass samples through. Raises Error(FRCRN_UNSUPPORTED) where this library was built
    // without soxr, Error(FRCRN_AUDIO) for a rate that is not taken.
    Resampler(int64_t from_rate, int64_t to_rate);

    bool passes_through() const { return handle_ == nullptr; }
    void reset();

    // The next n samples; appends what is finished to `out`. `last`: and all that remains.
    void add(const float *in, size_t n, bool last, std::vector<float> &out);

    // The most samples that `add` appends for n.
    size_t max_out(size_t n) const;

private:
    struct Free {
        void operator()(void *handle) const;
    };

    int64_t from_rate_, to_rate_;
    std::unique_ptr<void, Free> handle_;
    std::vector<float> block_;
};

// The length of n samples at another rate, rounded up.
int64_t resampled_length(int64_t n, int64_t from_rate, int64_t to_rate);

}  // namespace frcrn
