// Samples as bytes: raw PCM, and WAV headers in a pipe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tool {

using Bytes = std::vector<uint8_t>;

// At most n bytes; fewer at the end alone.
using ReadExactly = std::function<Bytes(size_t n)>;

// PCM, interleaved; formats are named as in ffmpeg.
struct PcmSpec {
    std::string format = "s16le";
    long sample_rate = 0, channels = 1;

    size_t sample_bytes() const;
    size_t frame_bytes() const { return sample_bytes() * static_cast<size_t>(channels); }
    // Raises Failure for a format, a rate or a number of channels that is not taken.
    void check() const;

    // Whole frames to channels [C][n], in [-1, 1]; and back, integers rounded and clipped at full scale.
    // `clipped` grows by how many were.
    void decode(const Bytes &data, std::vector<std::vector<float>> &channels) const;
    Bytes encode(const std::vector<std::vector<float>> &channels, size_t n, size_t &clipped) const;
};

struct WavHeader {
    PcmSpec spec;
    std::optional<uint64_t> data_bytes;  // none where the writer did not know
};

// From after "RIFF" or "RF64" up to the samples. Raises Failure.
WavHeader read_wav_header(const ReadExactly &read);

// RF64 beyond 4 GiB.
Bytes wav_header(const WavHeader &header);

}  // namespace tool
