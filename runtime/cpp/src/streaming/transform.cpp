#include "streaming/transform.h"

#include <algorithm>

namespace frcrn {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Samples as they are, a chunk at a time; outputs before sample 0 are dropped.
class WaveTransform final : public StreamTransform {
public:
    WaveTransform(const Streaming &info, const Padding &padding) : StreamTransform(info), padding_(padding) {
        latency = {info.chunk, 0, info.lookahead};
        // The network's own hop where there is one, so that gains do not depend on the chunk.
        gain_interval = info.chunk % padding.size == 0 ? padding.size : info.chunk;
        reset();
    }

    void reset() override {
        meaningless_ = info_.lookahead;
        clock_.reset();
    }

    int64_t samples() const override { return info_.chunk; }

    int64_t calls(int64_t samples) override {
        clock_.total = samples + padding_.samples(samples);
        return ceil_div(samples + info_.lookahead, info_.chunk);
    }

    int64_t total_samples(int64_t calls) const override { return calls * info_.chunk; }

    void analyse(const float *wave, size_t n, float *row) override {
        std::copy(wave, wave + n, row);
        clock_.given += static_cast<int64_t>(n);
    }

    Samples synthesise(float *row) override {
        std::fill(row, row + clock_.silent(), 0.0F);
        const int64_t dropped = std::min(meaningless_, info_.chunk);
        meaningless_ -= dropped;
        return {row + dropped, static_cast<size_t>(info_.chunk - dropped)};
    }

    Samples tail() override { return {}; }

private:
    Padding padding_;
    int64_t meaningless_ = 0;
};

// The frames of a stream. It keeps the samples that later frames still need. A transform that mirrors the
// signal at its edges waits for one sample more, which the first frame needs.
class StreamAnalysis {
public:
    explicit StreamAnalysis(const StftSpec &spec)
        : spec_(spec),
          transform_(spec),
          length_(spec.window_length + (spec.mirrors() ? 1 : 0)),
          held_(static_cast<size_t>(2 * length_)) {
        reset();
    }

    void reset() {
        std::fill(held_.begin(), held_.end(), 0.0F);
        given_ = 0;
        end_ = -1;
    }

    // The number of samples that a frame waits for beyond its hop.
    int64_t delay() const { return length_ - spec_.hop_length; }
    // The samples of the stream; those beyond are padding.
    void end_at(int64_t samples) { end_ = samples; }

    int64_t samples(int64_t frames) const { return given_ == 0 ? total_samples(frames) : frames * spec_.hop_length; }
    int64_t total_samples(int64_t frames) const { return length_ - spec_.margin() + (frames - 1) * spec_.hop_length; }

    // The next samples(1) samples to the next frame: bin k at real[k * stride].
    void analyse(const float *wave, float *real, float *imaginary, int64_t stride) {
        take(wave, samples(1));
        transform_.analyse(held_.data(), real, imaginary, stride);
    }

private:
    // Append the samples of the next frame; the last `length_` count.
    void take(const float *wave, int64_t count) {
        const bool begins = given_ == 0;
        given_ += count;
        std::copy(wave, wave + count, held_.begin() + length_);
        const int64_t beyond = given_ - end_;
        if (spec_.mirrors() && end_ >= 0 && beyond > 0) {
            const int64_t end = length_ + count - beyond;
            const int64_t mirrored = std::max<int64_t>(0, std::min(beyond, end - 1));
            for (int64_t i = 0; i < mirrored; ++i) at(end + i) = at(end - 2 - i);
        }
        std::copy(held_.begin() + count, held_.begin() + length_ + count, held_.begin());
        if (spec_.mirrors() && begins)
            for (int64_t i = 0; i < spec_.margin(); ++i) at(i) = at(2 * spec_.margin() - i);
    }

    float &at(int64_t index) { return held_[static_cast<size_t>(index)]; }

    StftSpec spec_;
    FrameTransform transform_;
    int64_t length_;
    std::vector<float> held_;  // and behind them those of the next frame
    int64_t given_ = 0, end_ = -1;
};

// The samples of a stream of frames. It keeps the sums that later frames still add to.
class StreamSynthesis {
public:
    explicit StreamSynthesis(const StftSpec &spec)
        : hop_(static_cast<size_t>(spec.hop_length)),
          transform_(spec),
          frame_(static_cast<size_t>(spec.window_length)),
          sum_(frame_.size()),
          weight_(frame_.size()) {}

    void reset() {
        std::fill(sum_.begin(), sum_.end(), 0.0);
        std::fill(weight_.begin(), weight_.end(), 0.0);
    }

    // The next frame to the hop that it completes, [hop].
    void synthesise(const float *real, const float *imaginary, int64_t stride, float *out) {
        transform_.synthesise(real, imaginary, stride, frame_.data());
        for (size_t n = 0; n < frame_.size(); ++n) {
            sum_[n] += frame_[n];
            weight_[n] += transform_.window_product()[n];
        }
        tail(hop_, out);
        for (auto *state : {&sum_, &weight_}) {
            std::copy(state->begin() + static_cast<std::ptrdiff_t>(hop_), state->end(), state->begin());
            std::fill(state->end() - static_cast<std::ptrdiff_t>(hop_), state->end(), 0.0);
        }
    }

    // The first samples that are held, [count].
    void tail(size_t count, float *out) const {
        for (size_t n = 0; n < count; ++n) out[n] = static_cast<float>(sum_[n] / (weight_[n] + kWindowSumEps));
    }

private:
    size_t hop_;
    FrameTransform transform_;
    std::vector<double> frame_, sum_, weight_;
};

// Frames of an STFT, a chunk at a time. Drops output frames before 0 and from the end on, and the samples
// of centred frames before the beginning of the stream.
class SpectrumTransform final : public StreamTransform {
public:
    SpectrumTransform(const StftSpec &stft, const Streaming &info, const Padding &padding)
        : StreamTransform(info),
          stft_(stft),
          padding_(padding),
          analysis_(stft),
          synthesis_(stft),
          wave_(static_cast<size_t>(std::max(info.chunk * stft.hop_length, stft.window_length - stft.hop_length))) {
        latency = {info.chunk * stft.hop_length, analysis_.delay(), info.lookahead * stft.hop_length};
        gain_interval = stft.hop_length;
        margin = stft.margin();
        reset();
    }

    void reset() override {
        analysis_.reset();
        synthesis_.reset();
        clock_.reset();
        frames_out_ = -info_.lookahead;
        returned_ = -stft_.margin();
        total_ = -1;
    }

    int64_t samples() const override { return analysis_.samples(info_.chunk); }

    int64_t calls(int64_t samples) override {
        const int64_t whole = samples + padding_.samples(samples);
        const int64_t frames = stft_.frames(whole);
        analysis_.end_at(whole);
        total_ = stft_.samples(frames);
        clock_.total = frames;
        const int64_t heard = std::min(frames, ceil_div(samples + stft_.margin(), stft_.hop_length));
        return ceil_div(heard + info_.lookahead, info_.chunk);
    }

    int64_t total_samples(int64_t calls) const override { return analysis_.total_samples(calls * info_.chunk); }

    void analyse(const float *wave, size_t, float *row) override {
        const int64_t chunk = info_.chunk, plane = stft_.bins() * chunk;
        for (int64_t frame = 0; frame < chunk; ++frame) {
            const int64_t count = analysis_.samples(1);
            analysis_.analyse(wave, row + frame, row + plane + frame, chunk);
            wave += count;
        }
        clock_.given += chunk;
        if (clock_.total == NetworkClock::kNoTotal || clock_.given <= clock_.total) return;
        // Frames beyond those of the offline transform.
        const int64_t first = std::max<int64_t>(0, chunk - (clock_.given - clock_.total));
        clear(row, first, chunk);
    }

    Samples synthesise(float *row) override {
        const int64_t first = frames_out_, chunk = info_.chunk, plane = stft_.bins() * chunk;
        frames_out_ += chunk;
        clear(row, 0, clock_.silent());
        const int64_t start = std::max<int64_t>(0, -first);
        const int64_t stop = clock_.total == NetworkClock::kNoTotal ? chunk : std::min(chunk, clock_.total - first);
        if (start >= stop) return {};
        for (int64_t frame = start; frame < stop; ++frame)
            synthesis_.synthesise(row + frame, row + plane + frame, chunk,
                                  wave_.data() + (frame - start) * stft_.hop_length);
        return inside((stop - start) * stft_.hop_length);
    }

    Samples tail() override {
        int64_t count = stft_.window_length - stft_.hop_length;
        if (clock_.total == NetworkClock::kNoTotal || frames_out_ < clock_.total)
            count = 0;  // later frames would follow, beyond the last sample of the stream
        synthesis_.tail(static_cast<size_t>(count), wave_.data());
        return inside(count);
    }

private:
    // Zero the frames [first, last) of a row.
    void clear(float *row, int64_t first, int64_t last) const {
        for (int64_t bin = 0; bin < 2 * stft_.bins(); ++bin)
            std::fill(row + bin * info_.chunk + first, row + bin * info_.chunk + last, 0.0F);
    }

    // Of the next `count` samples those that the offline transform has.
    Samples inside(int64_t count) {
        const int64_t first = std::min(count, std::max<int64_t>(0, -returned_));
        const int64_t last = total_ < 0 ? count : std::min(count, total_ - returned_);
        returned_ += count;
        return {wave_.data() + first, static_cast<size_t>(std::max(first, last) - first)};
    }

    StftSpec stft_;
    Padding padding_;
    StreamAnalysis analysis_;
    StreamSynthesis synthesis_;
    std::vector<float> wave_;
    int64_t frames_out_ = 0, returned_ = 0, total_ = -1;
};

}  // namespace

int64_t StreamTransform::completed(int64_t given) const {
    const int64_t first = total_samples(1);
    const int64_t calls = given < first ? 0 : 1 + (given - first) / latency.chunk;
    return std::max<int64_t>(0, calls * latency.chunk - latency.lookahead - margin);
}

void NetworkClock::reset() {
    given = 0;
    total = kNoTotal;
    start_ = silent_ = 0;
}

void NetworkClock::restart() {
    start_ = given;
    silent_ = lookahead_;
}

int64_t NetworkClock::silent() {
    const int64_t silent = std::min(silent_, chunk_);
    silent_ -= silent;
    return silent;
}

std::unique_ptr<StreamTransform> stream_transform(const Manifest &manifest, const File &file) {
    if (!manifest.stft) return std::make_unique<WaveTransform>(*file.streaming, manifest.padding);
    return std::make_unique<SpectrumTransform>(*manifest.stft, *file.streaming, manifest.padding);
}

}  // namespace frcrn
