#include "denoiser.h"

#include <algorithm>

#include "bundle.h"

namespace plugin {

Denoiser::Denoiser(size_t channels, unsigned long sample_rate) : block_(channels, std::vector<float>(kBlock)) {
    frcrn_model *model = nullptr;
    if (frcrn_model_open(find_bundle().c_str(), nullptr, &model, nullptr) != FRCRN_OK) return;
    model_.reset(model);
    frcrn_stream_options options = FRCRN_STREAM_OPTIONS_INIT;
    options.sample_rate = static_cast<uint32_t>(std::min(sample_rate, 0xFFFFFFFFUL));
    for (size_t i = 0; i < channels; ++i) {
        frcrn_stream *stream = nullptr;
        if (frcrn_stream_create(model, &options, &stream, nullptr) != FRCRN_OK) {
            streams_.clear();
            return;
        }
        streams_.emplace_back(stream);
    }
}

void Denoiser::activate() {
    deactivate();
    const frcrn_live_options options = {sizeof options, kBlock, 0};
    for (const auto &stream : streams_) {
        frcrn_live *worker = nullptr;
        if (frcrn_live_start(stream.get(), &options, &worker, nullptr) != FRCRN_OK) return deactivate();
        workers_.emplace_back(worker);
    }
    limit_db_ = -1.0F;  // of new workers: whatever it is, it is told to them
}

void Denoiser::deactivate() { workers_.clear(); }

size_t Denoiser::latency() const { return active() ? frcrn_live_latency(workers_[0].get()) : 0; }

void Denoiser::limit(float limit_db) {
    if (limit_db == limit_db_ || !(limit_db >= 0.0F)) return;  // or not a number
    limit_db_ = limit_db;
    for (const auto &worker : workers_)
        frcrn_live_set_attenuation_limit(worker.get(), limit_db < kNoLimit ? static_cast<double>(limit_db) : -1.0);
}

void Denoiser::run(const float *const *in, float *const *out, size_t n, bool waits) {
    waits = waits || n > kBlock;
    for (size_t start = 0; start < n; start += kBlock) {
        const size_t count = std::min(kBlock, n - start);
        // All inputs are read before an output is written: a host may give one buffer for two ports.
        for (size_t c = 0; c < block_.size(); ++c) std::copy_n(in[c] + start, count, block_[c].data());
        for (size_t c = 0; c < block_.size(); ++c) {
            if (!active())
                std::copy_n(block_[c].data(), count, out[c] + start);
            else if (waits)
                frcrn_live_exchange_blocking(workers_[c].get(), block_[c].data(), out[c] + start, count);
            else
                frcrn_live_exchange(workers_[c].get(), block_[c].data(), out[c] + start, count);
        }
    }
}

}  // namespace plugin
