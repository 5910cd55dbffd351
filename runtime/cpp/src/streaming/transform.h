// Transforms between the samples of a stream and the calls of its network.
//
// A transform cuts a stream into calls: it turns the samples of each call into one row of the network's
// input, and one row of its output back into samples. Nothing here allocates after the constructors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "audio/stft.h"
#include "bundle/manifest.h"

namespace frcrn {

// The algorithmic delay of a stream in samples, by what causes it.
struct Latency {
    int64_t chunk = 0, window = 0, lookahead = 0;

    int64_t samples() const { return chunk + window + lookahead; }
};

// Samples that a transform completes; valid until its next call.
struct Samples {
    const float *data = nullptr;
    size_t count = 0;
};

// The place in a stream as its network counts it, in frames (samples of a network of waves).
//
// A network that knows the stream's end counts in float32, exactly up to kUnknownEnd. For streams
// without an end it begins anew before that.
class NetworkClock {
public:
    static constexpr int64_t kNoTotal = INT64_MAX;

    explicit NetworkClock(const Streaming &info)
        : counts_(!info.end.empty()), chunk_(info.chunk), lookahead_(info.lookahead) {}

    void reset();
    // The `end` input of the network.
    int64_t end() const { return total == kNoTotal ? kUnknownEnd : total - start_; }
    // Whether the network cannot count the next call: it has to begin anew first.
    bool must_restart() const { return counts_ && given + chunk_ - start_ >= kUnknownEnd; }
    // The network has its initial states again.
    void restart();
    // How many frames of the next output come too early after a restart.
    int64_t silent();

    int64_t given = 0;         // frames that the network got
    int64_t total = kNoTotal;  // of the stream, once known

private:
    bool counts_;
    int64_t chunk_, lookahead_, start_ = 0, silent_ = 0;
};

class StreamTransform {
public:
    virtual ~StreamTransform() = default;

    virtual void reset() = 0;
    // The number of samples that the next call takes.
    virtual int64_t samples() const = 0;
    // Tell the length of the stream in samples; gives its number of calls.
    virtual int64_t calls(int64_t samples) = 0;
    // The number of samples that this many calls take in all.
    virtual int64_t total_samples(int64_t calls) const = 0;
    // The samples of the next call to its input.
    virtual void analyse(const float *wave, size_t n, float *row) = 0;
    // The output of the next call, which may be changed, to the samples that it completes.
    virtual Samples synthesise(float *row) = 0;
    // The samples after the last call, once the end is known.
    virtual Samples tail() = 0;

    // The samples that are complete once this many have gone in, of a stream that goes on.
    int64_t completed(int64_t given) const;

    int64_t end() const { return clock_.end(); }
    bool must_restart() const { return clock_.must_restart(); }
    void restart() { clock_.restart(); }

    Latency latency;
    int64_t gain_interval = 1;  // samples from one gain to the next
    int64_t margin = 0;         // samples before the beginning of the stream, which are dropped

protected:
    explicit StreamTransform(const Streaming &info) : info_(info), clock_(info) {}

    const Streaming info_;
    NetworkClock clock_;
};

// The transform of a streaming core of the bundle.
std::unique_ptr<StreamTransform> stream_transform(const Manifest &manifest, const File &file);

}  // namespace frcrn
