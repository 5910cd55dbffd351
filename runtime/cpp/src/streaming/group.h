// Streams through one network, in batches; a single stream is a group of one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "streaming/stream.h"
#include "streaming/stream_core.h"

namespace frcrn {

struct GroupTimes {
    uint64_t calls = 0, late = 0;
    double worst_ms = 0, total_ms = 0;
};

class Group {
public:
    Group(std::shared_ptr<const Session> session, const Manifest &manifest, const File &file, size_t streams,
          const StreamSettings &settings);

    size_t size() const { return streams_.size(); }
    const Stream &stream(size_t index) const { return streams_[index]; }
    const GroupTimes &times(size_t index) const { return times_[index]; }
    uint64_t pending(size_t index) const { return streams_[index].counts.given - streams_[index].counts.returned; }

    // The next samples of all streams, [size()] each: those with enough for a call run together, until
    // none is ready. out[i] may be in[i].
    void process(const float *const *in, const size_t *n, Sink *out);

    // End one stream.
    void flush(size_t index, Sink &out);
    void reset(size_t index);
    void set_noisy_share(size_t index, double share) { streams_[index].set_noisy_share(share); }

private:
    static constexpr size_t kParked = SIZE_MAX;

    void advance(Sink *out);
    void seat();
    uint8_t *parked(size_t stream) const { return parked_.data() + stream * core_.state_bytes(); }

    StreamCore core_;
    double input_limit_, call_ms_;
    std::vector<Stream> streams_;
    std::vector<GroupTimes> times_;
    // Streams that are ready occupy the first rows of the core. The states of the others are parked;
    // while the same streams are ready each time, nothing is copied.
    std::vector<size_t> rows_;   // the stream of each row in use
    std::vector<size_t> ready_;  // the streams of the next call
    std::vector<bool> is_ready_, is_seated_;
    std::vector<size_t> taken_;  // samples of each stream's input, in `process`
    std::vector<Sink> sinks_;    // in `flush`
    AlignedBytes parked_;
};

}  // namespace frcrn
