// Level rules: the gain that brings an utterance to the level its network was trained at.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace frcrn {

// The gain of a whole recording by the rule of the manifest: docs/bundle.md, "Level".
double measure_gain(const std::vector<float> &wave, const std::string &rule, bool level_is_restored);

// The causal gain of one stream, set anew every `interval` samples, or a fixed one.
class StreamLevel {
public:
    // `fixed`: a gain that is known in advance; 0 follows the rule. Raises Error(FRCRN_ARGUMENT).
    StreamLevel(const std::string &rule, double fixed, int64_t sample_rate, int64_t interval);

    void reset();

    // The gains of the next samples [n]; of any n, the first interval takes the remainder.
    void gains(const float *wave, float *out, size_t n);

private:
    static constexpr size_t kSlots = 10;     // one for each second of sound
    static constexpr size_t kBins = 66 * 8;  // powers 2^-32 to 2^34 in eighths of an octave

    struct Histogram {
        std::array<double, kBins> count{}, power{};
    };

    void update(const float *wave, float *out, size_t n);
    void add(const float *wave, size_t n);
    double target() const;
    bool next_slot(size_t n);

    enum class Rule { fixed, peak, active_rms } rule_;
    double fixed_ = 1.0;
    int64_t sample_rate_;
    size_t interval_;
    double rise_;  // each sample
    double gain_ = 1.0;
    size_t slot_ = 0;
    int64_t heard_ = 0;
    std::array<double, kSlots> peaks_{};
    std::vector<Histogram> slots_;
    Histogram total_;
};

}  // namespace frcrn
