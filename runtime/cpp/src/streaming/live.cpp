#include "streaming/live.h"

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
    sem_init(&finished_, 0, 0);
    worker_ = std::thread(&Live::work, this);
}

Live::~Live() {
    stopping_.store(true);
    sem_post(&arrived_);
    worker_.join();
    sem_destroy(&arrived_);
    sem_destroy(&finished_);
}

void Live::exchange(const float *in, float *out, size_t n, bool waits) {
    if (waits) catch_up();
    given_ += n;
    // Input that finds no room is lost, and its place is kept: the worker takes silence for it as soon as
    // it has caught up, and nothing enters before that.
    const bool catching_up = lost_.load(std::memory_order_acquire) > 0;
    const size_t written = catching_up ? 0 : input_.write(in, n);
    if (written < n) {
        lost_.fetch_add(n - written, std::memory_order_release);
        late_.fetch_add(n - written, std::memory_order_relaxed);
    }
    sem_post(&arrived_);
    // What came too late last time has been replaced by silence; dropping it keeps the delay.
    owed_ -= output_.read(nullptr, owed_);
    if (waits) wait_for(n);
    const size_t there = owed_ == 0 ? output_.read(out, n) : 0;
    std::fill(out + there, out + n, 0.0F);
    if (there == n) return;
    owed_ += n - there;
    late_.fetch_add(n - there, std::memory_order_relaxed);
}

// Until no sample is owed or lost.
void Live::catch_up() {
    while (owed_ > 0 && wait_for(1)) {
        owed_ -= output_.read(nullptr, owed_);
        sem_post(&arrived_);  // the worker may have waited for room
    }
    if (lost_.load(std::memory_order_acquire) > 0) wait_for(SIZE_MAX);
}

// Until the worker has put out that many, or has nothing left to do; whether they are there. The fences
// order the flag and the work: either the callback sees what was done, or the worker sees the flag.
bool Live::wait_for(size_t samples) {
    const auto over = [&] { return output_.size() >= samples || processed_.load() == given_; };
    while (!over()) {
        awaited_.store(true);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (over()) break;
        sem_wait(&finished_);
    }
    return output_.size() >= samples;
}

void Live::announce() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (awaited_.exchange(false)) sem_post(&finished_);
}

void Live::work() {
    while (true) {
        sem_wait(&arrived_);
        while (true) {
            if (stopping_.load()) return;
            // Looked at first: while something is lost nothing enters, so an empty queue after that is one
            // whose samples all came before.
            const uint64_t lost = lost_.load(std::memory_order_acquire);
            size_t n = input_.read(block_.data(), block_.size());
            if (n == 0) {
                n = static_cast<size_t>(std::min<uint64_t>(lost, block_.size()));
                if (n == 0) break;
                std::fill(block_.begin(), block_.begin() + static_cast<std::ptrdiff_t>(n), 0.0F);
                lost_.fetch_sub(n, std::memory_order_release);
            }
            const size_t count = process_(block_.data(), n, done_.data());
            // The callback takes as much as it gives, so there is room as soon as it has caught up.
            for (size_t sent = 0; sent < count;) {
                const size_t now = output_.write(done_.data() + sent, count - sent);
                sent += now;
                announce();
                if (now > 0) continue;
                sem_wait(&arrived_);
                if (stopping_.load()) return;
            }
            processed_.fetch_add(n);
            announce();
        }
    }
}

}  // namespace frcrn
