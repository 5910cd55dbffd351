#include "streaming/group.h"

#include <algorithm>
#include <chrono>

#include "denormals.h"

namespace frcrn {

Group::Group(std::shared_ptr<const Session> session, const Manifest &manifest, const File &file, size_t streams,
             const StreamSettings &settings)
    : core_(std::move(session), file, streams),
      input_limit_(file.input_limit),
      times_(streams),
      is_ready_(streams),
      is_seated_(streams),
      taken_(streams),
      sinks_(streams),
      parked_(streams > 1 ? streams * core_.state_bytes() : 0) {
    streams_.reserve(streams);
    for (size_t i = 0; i < streams; ++i) streams_.emplace_back(manifest, file, settings);
    call_ms_ = 1000.0 * static_cast<double>(streams_[0].latency().chunk) / static_cast<double>(manifest.sample_rate);
    rows_.reserve(streams);
    ready_.reserve(streams);
    // The first runs find their memory now, and not in the first call.
    core_.run(streams);
    if (streams > 1) core_.run(1);
    for (size_t i = 0; i < streams; ++i) reset(i);
}

void Group::process(const float *const *in, const size_t *n, Sink *out) {
    const DenormalsAsZero mode;
    std::fill(taken_.begin(), taken_.end(), 0);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < size(); ++i) {
            if (taken_[i] < n[i]) taken_[i] += streams_[i].take_in(in[i] + taken_[i], n[i] - taken_[i]);
            is_ready_[i] = streams_[i].ready();
            more = more || is_ready_[i];
        }
        if (more) advance(out);
    }
}

void Group::flush(size_t index, Sink &out) {
    const DenormalsAsZero mode;
    streams_[index].finish();
    std::fill(is_ready_.begin(), is_ready_.end(), false);
    std::fill(sinks_.begin(), sinks_.end(), Sink{});
    sinks_[index] = out;
    while ((is_ready_[index] = streams_[index].ready())) advance(sinks_.data());
    out = sinks_[index];
    streams_[index].drain(out);
}

void Group::reset(size_t index) {
    streams_[index].reset();
    times_[index] = GroupTimes{};
    const auto row = std::find(rows_.begin(), rows_.end(), index);
    if (row != rows_.end()) {
        core_.reset(static_cast<size_t>(row - rows_.begin()));
    } else if (size() > 1) {
        // Through a row that no stream occupies, or that the first stream leaves for a moment.
        if (!rows_.empty()) core_.save(0, parked(rows_[0]));
        core_.reset(0);
        core_.save(0, parked(index));
        if (!rows_.empty()) core_.load(0, parked(rows_[0]));
    } else {
        core_.reset(0);
    }
}

// One call of the network for the streams that are ready.
void Group::advance(Sink *out) {
    const auto begin = std::chrono::steady_clock::now();
    seat();
    const size_t values = core_.row_values();
    for (size_t row = 0; row < rows_.size(); ++row) {
        Stream &stream = streams_[rows_[row]];
        if (stream.must_restart()) {
            core_.reset(row);
            stream.restart();
        }
        stream.fill(core_.input(row), values, input_limit_);
        core_.set_end(row, stream.end());
    }
    core_.run(rows_.size());
    for (size_t row = 0; row < rows_.size(); ++row) {
        Stream &stream = streams_[rows_[row]];
        const uint64_t failed = stream.counts.failed;
        stream.take(core_.output(row), values, out[rows_[row]]);
        if (stream.counts.failed != failed) core_.reset(row);
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    for (const size_t index : rows_) {
        GroupTimes &times = times_[index];
        times.calls += 1;
        times.total_ms += took.count();
        times.worst_ms = std::max(times.worst_ms, took.count());
        times.late += took.count() > call_ms_ ? 1 : 0;
    }
}

// Assign the first rows of the core to the streams that are ready.
void Group::seat() {
    ready_.clear();
    for (size_t i = 0; i < size(); ++i)
        if (is_ready_[i]) ready_.push_back(i);
    const auto stays = [this](size_t row) { return row < ready_.size() && is_ready_[rows_[row]]; };
    std::fill(is_seated_.begin(), is_seated_.end(), false);
    for (size_t row = 0; row < rows_.size(); ++row) {
        if (stays(row)) {
            is_seated_[rows_[row]] = true;
        } else if (size() > 1) {
            core_.save(row, parked(rows_[row]));
        }
    }
    auto arriving = ready_.begin();
    const size_t before = rows_.size();
    rows_.resize(ready_.size());
    for (size_t row = 0; row < rows_.size(); ++row) {
        if (row < before && is_seated_[rows_[row]]) continue;
        while (is_seated_[*arriving]) ++arriving;
        rows_[row] = *arriving++;
        if (size() > 1) core_.load(row, parked(rows_[row]));
    }
}

}  // namespace frcrn
