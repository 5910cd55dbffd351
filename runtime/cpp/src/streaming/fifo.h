// A queue of samples of a fixed capacity, contiguous; it never allocates after its constructor.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "error.h"

namespace frcrn {

class Fifo {
public:
    // `capacity`: the most samples that it holds at once.
    explicit Fifo(size_t capacity) : buffer_(2 * capacity), capacity_(capacity) {}

    size_t size() const { return stop_ - start_; }
    size_t room() const { return capacity_ - size(); }
    void clear() { start_ = stop_ = 0; }

    // Append `count` samples, which the caller fills in.
    float *extend(size_t count) {
        if (count > room()) throw Error(FRCRN_INTERNAL, "a queue of samples is full");
        if (stop_ + count > buffer_.size()) {
            std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(start_),
                      buffer_.begin() + static_cast<std::ptrdiff_t>(stop_), buffer_.begin());
            stop_ -= start_;
            start_ = 0;
        }
        stop_ += count;
        return buffer_.data() + (stop_ - count);
    }

    // Remove the first `count` samples: valid until the next `extend`.
    float *read(size_t count) {
        if (count > size()) throw Error(FRCRN_INTERNAL, "a queue of samples is empty");
        start_ += count;
        return buffer_.data() + (start_ - count);
    }

private:
    std::vector<float> buffer_;
    size_t capacity_, start_ = 0, stop_ = 0;
};

}  // namespace frcrn
