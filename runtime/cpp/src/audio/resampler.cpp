#include "audio/resampler.h"

#include <algorithm>
#include <string>

#include "error.h"

#if defined(FRCRN_WITH_SOXR)
#include <soxr.h>
#endif

namespace frcrn {
namespace {

constexpr int64_t kLeastRate = 1'000, kMostRate = 768'000;
constexpr size_t kBlock = 4096;

}  // namespace

#if defined(FRCRN_WITH_SOXR)

Resampler::Resampler(int64_t from_rate, int64_t to_rate) : from_rate_(from_rate), to_rate_(to_rate) {
    for (const int64_t rate : {from_rate, to_rate})
        if (rate < kLeastRate || rate > kMostRate)
            throw Error(FRCRN_AUDIO, "a sample rate of " + std::to_string(rate) + " Hz; give 1000 to 768000");
    if (from_rate == to_rate) return;
    soxr_error_t error = nullptr;
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    handle_.reset(
        soxr_create(static_cast<double>(from_rate), static_cast<double>(to_rate), 1, &error, &io, &quality, &runtime));
    if (handle_ == nullptr) throw Error(FRCRN_INTERNAL, std::string("soxr: ") + error);
    block_.resize(kBlock);
}

void Resampler::Free::operator()(void *handle) const { soxr_delete(static_cast<soxr_t>(handle)); }

void Resampler::reset() {
    if (handle_ != nullptr) soxr_clear(static_cast<soxr_t>(handle_.get()));
}

void Resampler::add(const float *in, size_t n, bool last, std::vector<float> &out) {
    if (handle_ == nullptr) {
        out.insert(out.end(), in, in + n);
        return;
    }
    auto *handle = static_cast<soxr_t>(handle_.get());
    size_t taken = 0;
    while (true) {
        size_t used = 0, given = 0;
        // NULL ends the signal.
        const float *next = taken < n ? in + taken : last ? nullptr : in;
        if (soxr_process(handle, next, n - taken, &used, block_.data(), block_.size(), &given) != nullptr)
            throw Error(FRCRN_INTERNAL, "soxr failed");
        taken += used;
        out.insert(out.end(), block_.begin(), block_.begin() + static_cast<std::ptrdiff_t>(given));
        if (taken >= n && given < block_.size() && (!last || next == nullptr)) return;
    }
}

#else

Resampler::Resampler(int64_t from_rate, int64_t to_rate) : from_rate_(from_rate), to_rate_(to_rate) {
    if (from_rate != to_rate)
        throw Error(FRCRN_UNSUPPORTED, "audio of " + std::to_string(from_rate) + " Hz for a model of " +
                                           std::to_string(to_rate) +
                                           " Hz: this libfrcrn was built without soxr; resample it first");
}

void Resampler::Free::operator()(void *) const {}

void Resampler::reset() {}

void Resampler::add(const float *in, size_t n, bool, std::vector<float> &out) { out.insert(out.end(), in, in + n); }

#endif

size_t Resampler::max_out(size_t n) const {
    if (passes_through()) return n;
    // soxr holds samples back for its filters, and gives them in blocks.
    return static_cast<size_t>(resampled_length(static_cast<int64_t>(n), from_rate_, to_rate_)) + 2 * kBlock;
}

int64_t resampled_length(int64_t n, int64_t from_rate, int64_t to_rate) {
    return (n * to_rate + from_rate - 1) / from_rate;
}

}  // namespace frcrn
