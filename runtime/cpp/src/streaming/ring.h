// A queue of samples between two threads, one that writes and one that reads; it neither locks nor waits.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <vector>

namespace frcrn {

class Ring {
public:
    // `capacity`: the most samples that it holds.
    explicit Ring(size_t capacity) : buffer_(capacity + 1) {}

    // The samples that the reader may take, and the room that the writer has.
    size_t size() const {
        return distance(read_.load(std::memory_order_acquire), write_.load(std::memory_order_acquire));
    }
    size_t room() const { return buffer_.size() - 1 - size(); }

    // As many as there is room for; gives their number. Of the writer alone.
    size_t write(const float *samples, size_t n) {
        const size_t at = write_.load(std::memory_order_relaxed);
        n = std::min(n, room());
        const size_t first = std::min(n, buffer_.size() - at);
        std::copy(samples, samples + first, buffer_.begin() + static_cast<std::ptrdiff_t>(at));
        std::copy(samples + first, samples + n, buffer_.begin());
        write_.store((at + n) % buffer_.size(), std::memory_order_release);
        return n;
    }

    // As many as there are; gives their number. NULL drops them. Of the reader alone.
    size_t read(float *samples, size_t n) {
        const size_t at = read_.load(std::memory_order_relaxed);
        n = std::min(n, size());
        if (samples != nullptr) {
            const size_t first = std::min(n, buffer_.size() - at);
            const float *from = buffer_.data() + at;
            std::copy(from, from + first, samples);
            std::copy(buffer_.data(), buffer_.data() + (n - first), samples + first);
        }
        read_.store((at + n) % buffer_.size(), std::memory_order_release);
        return n;
    }

private:
    size_t distance(size_t read, size_t write) const { return (write + buffer_.size() - read) % buffer_.size(); }

    std::vector<float> buffer_;
    std::atomic<size_t> read_{0}, write_{0};
};

}  // namespace frcrn
