// A stream at any sample rate: soxr around a stream at the model's rate, or that stream alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "audio/high_pass.h"
#include "audio/resampler.h"
#include "sessions/model.h"
#include "streaming/group.h"

namespace frcrn {

class ResampledStream {
public:
    // `sample_rate`: of the audio; 0 is the model's. Raises Error.
    ResampledStream(const Model &model, int64_t sample_rate, const StreamSettings &settings);

    // As of the C interface.
    size_t max_out(size_t n) const;
    size_t pending() const;
    bool finished() const { return group_.stream(0).finished(); }
    size_t process(const float *in, size_t n, float *out, size_t capacity);
    size_t flush(float *out);
    void reset();
    void set_noisy_share(double share) { group_.set_noisy_share(0, share); }
    double noisy_share() const { return group_.stream(0).noisy_share(); }

    StreamCounts counts() const;
    const GroupTimes &times() const { return group_.times(0); }
    // Samples of the audio's rate that the output is behind, at most.
    size_t delay() const { return delay_; }

private:
    size_t measured_delay();
    void denoise();
    size_t send(float *out, size_t most);

    Group group_;
    int64_t rate_, model_rate_;
    Resampler inward_, outward_;
    std::optional<HighPassFilter> high_pass_;  // at the audio's rate
    size_t delay_;
    StreamCounts counts_;                            // of the audio, where it is resampled
    std::vector<float> given_, inner_, done_, out_;  // reused; they keep their memory
};

}  // namespace frcrn
