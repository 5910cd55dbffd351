#include "streaming/stream.h"

#include <cmath>
#include <cstring>

#include "audio/samples.h"

namespace frcrn {
namespace {

// The largest magnitude as bits of a float32, which grow with it; infinity and NaN are the largest. An
// integer maximum is vectorised, a comparison of floats is not.
uint32_t largest_bits(const float *values, size_t count) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, values + i, sizeof bits);
        largest = std::max(largest, bits & 0x7fffffffU);
    }
    return largest;
}

constexpr uint32_t kInfinityBits = 0x7f800000U;

// The samples of the longest call: the first.
size_t longest_call(const StreamTransform &transform) {
    return static_cast<size_t>(std::max(transform.total_samples(1), transform.latency.chunk));
}

// Samples that have gone in and whose output has not come, at most.
size_t most_pending(const StreamTransform &transform) {
    return longest_call(transform) + static_cast<size_t>(transform.latency.samples() + transform.latency.chunk);
}

}  // namespace

double noisy_share(double limit_db) {
    if (std::isnan(limit_db)) throw Error(FRCRN_ARGUMENT, "an attenuation limit that is NaN; give dB from 0");
    return limit_db < 0 || std::isinf(limit_db) ? 0.0 : std::pow(10.0, -limit_db / 20.0);
}

Stream::Stream(const Manifest &manifest, const File &file, const StreamSettings &settings)
    : settings_(settings),
      transform_(stream_transform(manifest, file)),
      level_(manifest.level, settings.gain, manifest.sample_rate, transform_->gain_interval),
      // One chunk more than a call: the output of a call may then be written over the input that it
      // came from.
      input_(longest_call(*transform_) + static_cast<size_t>(transform_->latency.chunk)),
      gains_(most_pending(*transform_)),
      noisy_(most_pending(*transform_)),  // kept in any case: the share may change
      wave_(longest_call(*transform_)) {
    if (settings.high_pass && manifest.high_pass)
        high_pass_.emplace(manifest.high_pass->streaming_cutoff_hz, static_cast<double>(manifest.sample_rate));
    reset();
}

void Stream::reset() {
    transform_->reset();
    level_.reset();
    if (high_pass_) high_pass_->reset();
    for (Fifo *fifo : {&input_, &gains_, &noisy_}) fifo->clear();
    counts = StreamCounts{};
    share_ = settings_.noisy_share;
    finished_ = false;
    padding_ = 0;
}

size_t Stream::take_in(const float *in, size_t n) {
    const size_t count = std::min(n, input_.room());
    float *samples = input_.extend(count);
    for (size_t i = 0; i < count; ++i) {
        const bool usable = is_usable(in[i]);
        samples[i] = usable ? in[i] : 0.0F;
        counts.replaced += usable ? 0 : 1;
    }
    counts.given += count;
    return count;
}

void Stream::fill(float *row, size_t values, double limit) {
    const size_t n = needed(), sound = std::min(n, input_.size());
    const float *held = input_.read(sound);
    std::copy(held, held + sound, wave_.begin());
    if (high_pass_)  // silence follows what it gives, as in recordings
        for (size_t i = 0; i < sound; ++i) wave_[i] = static_cast<float>((*high_pass_)(wave_[i]));
    std::fill(wave_.begin() + static_cast<std::ptrdiff_t>(sound), wave_.begin() + static_cast<std::ptrdiff_t>(n), 0.0F);
    padding_ -= std::min(padding_, n - sound);
    float *gains = gains_.extend(n);
    level_.gains(wave_.data(), gains, n);
    float *noisy = noisy_.extend(n);
    for (size_t i = 0; i < n; ++i) noisy[i] = settings_.restore_level ? wave_[i] : wave_[i] * gains[i];
    for (size_t i = 0; i < n; ++i) wave_[i] *= gains[i];
    transform_->analyse(wave_.data(), n, row);
    if (limit <= 0) return;
    const auto bound = static_cast<float>(limit);
    uint32_t bits = 0;
    std::memcpy(&bits, &bound, sizeof bits);
    if (largest_bits(row, values) <= bits) return;
    counts.limited += 1;
    for (size_t i = 0; i < values; ++i) row[i] = std::min(std::max(row[i], -bound), bound);
}

void Stream::take(float *row, size_t values, Sink &out) {
    const bool finite = largest_bits(row, values) < kInfinityBits;
    if (!finite) {
        counts.failed += 1;
        std::fill(row, row + values, 0.0F);
    }
    restore(transform_->synthesise(row), out);
    if (!finite) transform_->restart();
}

void Stream::restore(const Samples &wave, Sink &out) {
    const float *gains = gains_.read(wave.count);
    const float *noisy = noisy_.read(wave.count);
    const double before = share_, now = settings_.noisy_share;
    const auto share = static_cast<float>(now), rest = static_cast<float>(1 - now);
    const auto fading = static_cast<double>(wave.count);
    if (wave.count > 0) share_ = now;
    size_t count = std::min(wave.count, out.capacity - out.count);
    if (finished_) count = std::min<size_t>(count, counts.given - counts.returned);
    for (size_t i = 0; i < count; ++i) {
        const float clean = settings_.restore_level ? wave.data[i] / gains[i] : wave.data[i];
        if (before != now) {  // no step in the sound
            const double faded = before + (now - before) * static_cast<double>(i + 1) / fading;
            out.data[out.count + i] = static_cast<float>(faded * noisy[i] + (1 - faded) * clean);
        } else {
            out.data[out.count + i] = now > 0 ? share * noisy[i] + rest * clean : clean;
        }
    }
    out.count += count;
    counts.returned += count;
}

void Stream::finish() {
    finished_ = true;
    if (counts.given == 0) return;
    const auto given = static_cast<int64_t>(counts.given);
    const int64_t calls = transform_->calls(given);
    padding_ = static_cast<size_t>(std::max<int64_t>(0, transform_->total_samples(calls) - given));
}

void Stream::drain(Sink &out) {
    if (counts.given > 0) restore(transform_->tail(), out);
    const auto share = static_cast<float>(settings_.noisy_share);
    while (counts.returned < counts.given && out.count < out.capacity) {
        const bool mixed = settings_.noisy_share > 0;
        out.data[out.count++] = mixed ? share * *noisy_.read(1) : 0.0F;
        counts.returned += 1;
    }
}

}  // namespace frcrn
