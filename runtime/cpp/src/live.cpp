#include "live.h"

#include <algorithm>

namespace frcrn {

Live::Live(Process process, size_t most_out, size_t max_block, size_t delay)
    : process_(std::move(process)),
      max_block_(max_block),
      delay_(delay),
      input_(4 * (max_block + delay)),
      output_(4 * (max_block + delay) + most_out),
      block_(max_block),
      done_(most_out) {
    const std::vector<float> silence(delay);
    output_.write(silence.data(), delay);
    sem_init(&arrived_, 0, 0);
    worker_ = std::thread(&Live::work, this);
}

Live::~Live() {
    stopping_.store(true);
    sem_post(&arrived_);
    worker_.join();
    sem_destroy(&arrived_);
}

void Live::exchange(const float *in, float *out, size_t n) {
    // Input that finds no room is lost, and its place is kept: the worker gives silence for it.
    const size_t written = input_.write(in, n);
    if (written < n) lost_.fetch_add(n - written, std::memory_order_release);
    sem_post(&arrived_);
    // What came too late last time has been replaced by silence; dropping it keeps the delay.
    owed_ -= output_.read(nullptr, owed_);
    const size_t there = owed_ == 0 ? output_.read(out, n) : 0;
    std::fill(out + there, out + n, 0.0F);
    if (there == n) return;
    owed_ += n - there;
    late_.fetch_add(n - there, std::memory_order_relaxed);
}

void Live::work() {
    while (true) {
        sem_wait(&arrived_);
        if (stopping_.load()) return;
        while (true) {
            const size_t n = input_.read(block_.data(), block_.size());
            size_t silence = 0;
            if (n == 0) {
                silence = static_cast<size_t>(
                    std::min<uint64_t>(lost_.load(std::memory_order_acquire), block_.size()));
                if (silence == 0) break;
                lost_.fetch_sub(silence, std::memory_order_relaxed);
                std::fill(block_.begin(), block_.begin() + static_cast<std::ptrdiff_t>(silence), 0.0F);
            }
            const size_t count = process_(block_.data(), n + silence, done_.data());
            // The callback takes as much as it gives, so there is room as soon as it has caught up.
            for (size_t sent = 0; sent < count && !stopping_.load();) {
                const size_t now = output_.write(done_.data() + sent, count - sent);
                sent += now;
                if (now == 0) sem_wait(&arrived_);
            }
        }
    }
}

}  // namespace frcrn
