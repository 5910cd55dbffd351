// What an instance of the plugin does: channels through live workers of libfrcrn, or audio passed through.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "frcrn.h"

namespace plugin {

class Denoiser {
public:
    // Opens the bundle (bundle.h). Where that fails, audio passes through.
    Denoiser(size_t channels, unsigned long sample_rate);

    // Start and stop the workers.
    void activate();
    void deactivate();

    bool active() const { return !workers_.empty(); }
    // Samples between input and output; 0 where audio passes through.
    size_t latency() const;

    // The most that noise is lowered by, in dB; kNoLimit and above: all of it. Fades.
    static constexpr float kNoLimit = 100.0F;
    void limit(float limit_db);

    // n samples of each channel; outputs may be inputs, in any order. `waits`: for workers that are late,
    // instead of silence; blocks beyond kBlock wait in any case, as workers cannot have done them.
    void run(const float *const *in, float *const *out, size_t n, bool waits);

private:
    static constexpr size_t kBlock = 1024;

    struct Free {
        void operator()(frcrn_model *model) const { frcrn_model_free(model); }
        void operator()(frcrn_stream *stream) const { frcrn_stream_free(stream); }
        void operator()(frcrn_live *live) const { frcrn_live_stop(live); }
    };

    std::unique_ptr<frcrn_model, Free> model_;
    std::vector<std::unique_ptr<frcrn_stream, Free>> streams_;  // none where the bundle could not be opened
    std::vector<std::unique_ptr<frcrn_live, Free>> workers_;    // one for each stream while it is active
    float limit_db_ = kNoLimit;
    std::vector<std::vector<float>> block_;  // [channels][kBlock]
};

}  // namespace plugin
