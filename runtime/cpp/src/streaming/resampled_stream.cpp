#include "streaming/resampled_stream.h"

#include <algorithm>

#include "audio/samples.h"

namespace frcrn {
namespace {

// Samples that go through at once, so that the memory for them has a bound.
constexpr size_t kBlock = 4096;
constexpr size_t kStep = 16;
constexpr int64_t kMeasuredSeconds = 5;
constexpr size_t kMeasuredLeast = 100'000;

StreamSettings inner_settings(StreamSettings settings, bool resampled) {
    // A resampler rings at the edges of DC, so the filter comes first.
    settings.high_pass = settings.high_pass && !resampled;
    return settings;
}

}  // namespace

ResampledStream::ResampledStream(const Model &model, int64_t sample_rate, const StreamSettings &settings)
    : group_(model.session(model.require_streaming_core(1), true), model.manifest(), model.require_streaming_core(1), 1,
             inner_settings(settings, sample_rate != 0 && sample_rate != model.manifest().sample_rate)),
      rate_(sample_rate != 0 ? sample_rate : model.manifest().sample_rate),
      model_rate_(model.manifest().sample_rate),
      inward_(rate_, model_rate_),
      outward_(model_rate_, rate_) {
    const auto latency = static_cast<size_t>(group_.stream(0).latency().samples());
    if (rate_ == model_rate_) {
        delay_ = latency;
        return;
    }
    if (settings.high_pass && model.manifest().high_pass)
        high_pass_.emplace(model.manifest().high_pass->streaming_cutoff_hz, static_cast<double>(rate_));
    given_.reserve(kBlock);
    inner_.reserve(inward_.max_out(kBlock));
    done_.reserve(group_.stream(0).max_out(inward_.max_out(kBlock)));
    out_.reserve(outward_.max_out(done_.capacity()));
    delay_ = measured_delay();
}

// The two filters give their samples in steps, whose pattern against the network's chunks goes on for
// seconds. So silence goes through them, without the network, whose counts are known; a chunk more is for
// what comes after that.
size_t ResampledStream::measured_delay() {
    const std::vector<float> silence(std::max(kStep, static_cast<size_t>(group_.stream(0).latency().chunk)));
    const auto least = std::max(kMeasuredLeast, static_cast<size_t>(kMeasuredSeconds * rate_));
    const size_t chunk = static_cast<size_t>(resampled_length(group_.stream(0).latency().chunk, model_rate_, rate_));
    size_t given = 0, inner = 0, done = 0, returned = 0, most = 0, since = 0;
    while (since < least) {
        most = std::max(most, given + kStep - returned);
        inner_.clear();
        inward_.add(silence.data(), kStep, false, inner_);
        given += kStep;
        inner += inner_.size();
        const auto completed = static_cast<size_t>(group_.stream(0).completed(static_cast<int64_t>(inner)));
        out_.clear();
        for (; done < completed; done += std::min(silence.size(), completed - done))
            outward_.add(silence.data(), std::min(silence.size(), completed - done), false, out_);
        returned += out_.size();
        if (returned > 0) since += kStep;
    }
    inward_.reset();
    outward_.reset();
    inner_.clear();
    out_.clear();
    return most + chunk;
}

size_t ResampledStream::max_out(size_t n) const {
    if (inward_.passes_through()) return group_.stream(0).max_out(n);
    return n + 2 * kBlock + group_.stream(0).max_out(0) * static_cast<size_t>(rate_ / model_rate_ + 1);
}

size_t ResampledStream::pending() const {
    return inward_.passes_through() ? group_.pending(0) : counts_.given - counts_.returned;
}

StreamCounts ResampledStream::counts() const {
    StreamCounts counts = group_.stream(0).counts;
    if (inward_.passes_through()) return counts;
    counts.given = counts_.given;
    counts.returned = counts_.returned;
    counts.replaced += counts_.replaced;
    return counts;
}

size_t ResampledStream::process(const float *in, size_t n, float *out, size_t capacity) {
    if (inward_.passes_through()) {
        Sink sink{out, capacity, 0};
        group_.process(&in, &n, &sink);
        return sink.count;
    }
    // `out` may be `in`: what is finished is held until all has been read.
    for (size_t start = 0; start < n; start += kBlock) {
        given_.assign(in + start, in + std::min(n, start + kBlock));
        for (float &x : given_) {
            if (!is_usable(x)) x = 0.0F, counts_.replaced += 1;
            if (high_pass_) x = static_cast<float>((*high_pass_)(x));
        }
        counts_.given += given_.size();
        inner_.clear();
        inward_.add(given_.data(), given_.size(), false, inner_);
        denoise();
        outward_.add(done_.data(), done_.size(), false, out_);
    }
    return send(out, capacity);
}

size_t ResampledStream::flush(float *out) {
    if (inward_.passes_through()) {
        Sink sink{out, pending(), 0};
        group_.flush(0, sink);
        return sink.count;
    }
    inner_.clear();
    inward_.add(nullptr, 0, true, inner_);
    denoise();
    outward_.add(done_.data(), done_.size(), false, out_);
    done_.resize(group_.pending(0));
    Sink sink{done_.data(), done_.size(), 0};
    group_.flush(0, sink);
    outward_.add(done_.data(), sink.count, true, out_);
    const size_t missing = pending(), sent = send(out, missing);
    std::fill(out + sent, out + missing, 0.0F);
    counts_.returned = counts_.given;
    return missing;
}

void ResampledStream::reset() {
    group_.reset(0);
    inward_.reset();
    outward_.reset();
    if (high_pass_) high_pass_->reset();
    counts_ = StreamCounts{};
    out_.clear();
}

// `inner_` through the network to `done_`.
void ResampledStream::denoise() {
    const size_t n = inner_.size();
    done_.resize(group_.stream(0).max_out(n));
    const float *in = inner_.data();
    Sink sink{done_.data(), done_.size(), 0};
    group_.process(&in, &n, &sink);
    done_.resize(sink.count);
}

// The first samples that are finished; never more than went in.
size_t ResampledStream::send(float *out, size_t most) {
    const size_t count = std::min({out_.size(), most, pending()});
    std::copy(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(count), out);
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(count));
    counts_.returned += count;
    return count;
}

}  // namespace frcrn
