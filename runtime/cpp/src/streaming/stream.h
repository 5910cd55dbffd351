// One stream around a network: its level, its transform, and its pending samples.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "audio/high_pass.h"
#include "audio/level.h"
#include "bundle/manifest.h"
#include "streaming/fifo.h"
#include "streaming/transform.h"

namespace frcrn {

struct StreamSettings {
    bool restore_level = true;
    double noisy_share = 0.0;  // how much of the noisy signal stays in the output, 0 to 1
    double gain = 0.0;         // a fixed one; 0 follows the input
    bool high_pass = true;     // where the bundle has one
};

// a of docs/bundle.md for a limit in dB; negative is no limit. Raises Error(FRCRN_ARGUMENT) for NaN.
double noisy_share(double limit_db);

// Where finished samples go: a buffer of the caller, and how many it took.
struct Sink {
    float *data = nullptr;
    size_t capacity = 0, count = 0;
};

struct StreamCounts {
    uint64_t given = 0, returned = 0, replaced = 0, failed = 0, limited = 0;
};

// `take_in` samples; while it is `ready`, `fill` a row of the network's input and `take` the row of its
// output. After `finish` it is ready until all have come out.
class Stream {
public:
    Stream(const Manifest &manifest, const File &file, const StreamSettings &settings);

    void reset();

    // Another share from now on; the next output fades to it, unless it is the first.
    void set_noisy_share(double share) {
        settings_.noisy_share = share;
        if (counts.returned == 0) share_ = share;
    }
    double noisy_share() const { return settings_.noisy_share; }

    // The most samples that come out for n that go in.
    size_t max_out(size_t n) const { return n + static_cast<size_t>(transform_->latency.chunk) - 1; }
    const Latency &latency() const { return transform_->latency; }
    int64_t completed(int64_t given) const { return transform_->completed(given); }

    // As many of the next samples as there is room for; gives their number.
    size_t take_in(const float *in, size_t n);
    // Whether there are samples for another call.
    bool ready() const { return input_.size() + padding_ >= needed(); }
    bool must_restart() const { return transform_->must_restart(); }
    void restart() { transform_->restart(); }
    int64_t end() const { return transform_->end(); }

    // The input of the next call, [values]; bounded to `limit` where that is above 0.
    void fill(float *row, size_t values, double limit);
    // The output of that call. Where it is not finite: silence, and the network must begin anew.
    void take(float *row, size_t values, Sink &out);

    // End the stream. `drain` gives what is left after the last call.
    void finish();
    bool finished() const { return finished_; }
    void drain(Sink &out);

    StreamCounts counts;

private:
    size_t needed() const { return static_cast<size_t>(transform_->samples()); }
    void restore(const Samples &wave, Sink &out);

    StreamSettings settings_;
    std::unique_ptr<StreamTransform> transform_;
    StreamLevel level_;
    std::optional<HighPassFilter> high_pass_;
    Fifo input_, gains_, noisy_;
    std::vector<float> wave_;
    double share_ = 0.0;  // of the noisy signal, in the last output
    bool finished_ = false;
    size_t padding_ = 0;  // samples of silence after the last, in the remaining calls
};

}  // namespace frcrn
