#include "audio/level.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "error.h"

namespace frcrn {
namespace {

const double kTargetRms = std::pow(10.0, -25.0 / 20.0);
// Added to an rms: the first where the level stays, the second where it is restored.
constexpr double kEpsLevelled = std::numeric_limits<double>::epsilon(), kEpsRestored = 1e-6;
// A peak below this counts as silence: its gain would not fit a float32.
constexpr float kSmallestPeak = std::numeric_limits<float>::min();

constexpr double kRiseDbPerSecond = 20.0, kLeastGain = 1e-6, kMostGain = 100.0;
constexpr double kSilence = 1e-4;  // -80 dBFS
// The histogram's bin of a power: the exponent and the first three bits of the mantissa of a float32.
constexpr int kShift = 20;
constexpr int32_t kFirstBin = (127 - 32) << 3;

double active_rms_gain(const std::vector<float> &wave, double eps) {
    double total = 0.0;
    for (const float x : wave) total += static_cast<double>(x) * x;
    const double mean = total / static_cast<double>(wave.size());
    if (!(mean > 0)) return 1.0;
    double active = 0.0;
    size_t count = 0;
    for (const float x : wave) {
        const double power = static_cast<double>(x) * x;
        if (power > mean) active += power, ++count;
    }
    const double first = kTargetRms / (std::sqrt(mean) + eps);
    // A signal of constant magnitude has no sample above its mean.
    if (count == 0) return first;
    return first * (kTargetRms / (first * std::sqrt(active / static_cast<double>(count)) + eps));
}

size_t bin_of(float power, size_t bins) {
    int32_t bits = 0;
    std::memcpy(&bits, &power, sizeof bits);
    const int32_t bin = (bits >> kShift) - kFirstBin;
    return static_cast<size_t>(std::clamp<int32_t>(bin, 0, static_cast<int32_t>(bins) - 1));
}

}  // namespace

double measure_gain(const std::vector<float> &wave, const std::string &rule, bool level_is_restored) {
    if (rule == "active_rms") return active_rms_gain(wave, level_is_restored ? kEpsRestored : kEpsLevelled);
    if (rule == "peak") {
        float peak = 0.0F;
        for (const float x : wave) peak = std::max(peak, std::fabs(x));
        return peak >= kSmallestPeak ? 1.0 / static_cast<double>(peak) : 1.0;
    }
    return 1.0;
}

StreamLevel::StreamLevel(const std::string &rule, double fixed, int64_t sample_rate, int64_t interval)
    : sample_rate_(sample_rate), interval_(static_cast<size_t>(interval)) {
    if (fixed != 0.0 && !(fixed >= kLeastGain && fixed <= 1 / kLeastGain))
        throw Error(FRCRN_ARGUMENT, "a gain of " + number(fixed) + "; give a factor from 1e-06 to 1e+06");
    rule_ = fixed != 0.0 || rule == "none" ? Rule::fixed : rule == "peak" ? Rule::peak : Rule::active_rms;
    fixed_ = fixed != 0.0 ? fixed : 1.0;
    rise_ = std::pow(10.0, kRiseDbPerSecond / 20.0 / static_cast<double>(sample_rate));
    if (rule_ == Rule::active_rms) slots_.resize(kSlots);
    reset();
}

void StreamLevel::reset() {
    peaks_.fill(0.0);
    for (Histogram &slot : slots_) slot = Histogram{};
    total_ = Histogram{};
    slot_ = 0;
    heard_ = 0;
    gain_ = 1.0;
}

void StreamLevel::gains(const float *wave, float *out, size_t n) {
    if (rule_ == Rule::fixed) {
        std::fill(out, out + n, static_cast<float>(fixed_));
        return;
    }
    const size_t count = std::max<size_t>(1, n / interval_);
    size_t start = 0;
    for (size_t stop = n - (count - 1) * interval_; start < n; stop += interval_) {
        update(wave + start, out + start, stop - start);
        start = stop;
    }
}

void StreamLevel::update(const float *wave, float *out, size_t n) {
    add(wave, n);
    const double risen = gain_ * std::pow(rise_, static_cast<double>(n));
    const double gain = std::min(std::max(std::min(target(), risen), kLeastGain), kMostGain);
    const double first = gain_ + (gain - gain_) / static_cast<double>(n);
    const double step = n > 1 ? (gain - first) / static_cast<double>(n - 1) : 0.0;
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(first + static_cast<double>(i) * step);
    out[n - 1] = static_cast<float>(gain);
    gain_ = gain;
}

void StreamLevel::add(const float *wave, size_t n) {
    if (rule_ == Rule::peak) {
        float peak = 0.0F;
        for (size_t i = 0; i < n; ++i) peak = std::max(peak, std::fabs(wave[i]));
        if (peak < kSilence) return;
        peaks_[slot_] = std::max(peaks_[slot_], static_cast<double>(peak));
        if (next_slot(n)) peaks_[slot_] = 0.0;
        return;
    }
    double sum = 0.0;
    for (size_t i = 0; i < n; ++i) sum += wave[i] * wave[i];
    if (sum / static_cast<double>(n) < kSilence * kSilence) return;
    for (size_t i = 0; i < n; ++i) {
        const float power = wave[i] * wave[i];
        const size_t bin = bin_of(power, kBins);
        for (Histogram *histogram : {&slots_[slot_], &total_}) {
            histogram->count[bin] += 1.0;
            histogram->power[bin] += power;
        }
    }
    if (!next_slot(n)) return;
    slots_[slot_] = Histogram{};
    total_ = Histogram{};
    for (const Histogram &slot : slots_)
        for (size_t bin = 0; bin < kBins; ++bin) {
            total_.count[bin] += slot.count[bin];
            total_.power[bin] += slot.power[bin];
        }
}

// Count samples; after each second the oldest slot is next.
bool StreamLevel::next_slot(size_t n) {
    heard_ += static_cast<int64_t>(n);
    if (heard_ < sample_rate_) return false;
    heard_ = 0;
    slot_ = (slot_ + 1) % kSlots;
    return true;
}

double StreamLevel::target() const {
    if (rule_ == Rule::peak) {
        const double peak = *std::max_element(peaks_.begin(), peaks_.end());
        return peak > 0 ? 1.0 / peak : 1.0;
    }
    double count = 0, power = 0, active = 0, active_power = 0;
    for (size_t bin = 0; bin < kBins; ++bin) count += total_.count[bin], power += total_.power[bin];
    if (count == 0) return 1.0;
    for (size_t bin = bin_of(static_cast<float>(power / count), kBins) + 1; bin < kBins; ++bin)
        active += total_.count[bin], active_power += total_.power[bin];
    // A signal of constant magnitude has no sample above its mean.
    return kTargetRms / std::sqrt(active > 0 ? active_power / active : power / count);
}

}  // namespace frcrn
