// A worker thread that runs a stream for an audio callback, which only copies.
#pragma once

#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "streaming/ring.h"

namespace frcrn {

class Live {
public:
    // Samples [n] into `out`, which has room for most_out; gives how many. Of the worker alone.
    using Process = std::function<size_t(const float *in, size_t n, float *out)>;

    // `delay`: samples of silence that come first, so that every exchange finds its samples.
    Live(Process process, size_t most_out, size_t max_block, size_t delay);
    ~Live();
    Live(const Live &) = delete;
    Live &operator=(const Live &) = delete;

    size_t delay() const { return delay_; }
    size_t max_block() const { return max_block_; }
    uint64_t late_samples() const { return late_.load(std::memory_order_relaxed); }

    // n samples in and n out, at most max_block; in may be out. `waits`: for the worker, so that none is late.
    void exchange(const float *in, float *out, size_t n, bool waits);

private:
    void work();
    void catch_up();
    bool wait_for(size_t samples);
    void announce();

    Process process_;
    size_t max_block_, delay_;
    Ring input_, output_;
    std::vector<float> block_, done_;     // of the worker
    size_t owed_ = 0;                     // late samples to drop; of the callback
    uint64_t given_ = 0;                  // of the callback
    std::atomic<uint64_t> processed_{0};  // of what was given; of the worker
    std::atomic<uint64_t> late_{0};
    std::atomic<uint64_t> lost_{0};  // samples that did not fit: silence for the worker to give
    std::atomic<bool> stopping_{false};
    std::atomic<bool> awaited_{false};  // the callback waits for output
    sem_t arrived_, finished_;
    std::thread worker_;
};

}  // namespace frcrn
