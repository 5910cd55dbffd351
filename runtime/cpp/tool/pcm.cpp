#include "pcm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "failure.h"

namespace tool {
namespace {

constexpr long kMostChannels = 64, kLeastRate = 1'000, kMostRate = 768'000;
constexpr uint32_t kUnknown = 0xFFFFFFFF;
constexpr uint64_t kPcm = 1, kFloat = 3, kExtensible = 0xFFFE;
constexpr size_t kSkipBytes = 1 << 16;
const char *const kConvert = "convert it on the way: ffmpeg -i - -c:a pcm_s16le -f wav -";

uint64_t little_endian(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

void append(Bytes &bytes, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

void append(Bytes &bytes, const char *name) {
    for (size_t i = 0; i < 4; ++i) bytes.push_back(static_cast<uint8_t>(name[i]));
}

bool is(const Bytes &bytes, const char *name) { return bytes.size() >= 4 && std::memcmp(bytes.data(), name, 4) == 0; }

void skip(const ReadExactly &read, uint64_t count) {
    while (count > 0) {
        const size_t skipped = read(static_cast<size_t>(std::min<uint64_t>(count, kSkipBytes))).size();
        if (skipped == 0) return;
        count -= skipped;
    }
}

// The first bytes of a chunk; the rest is skipped.
Bytes body(const ReadExactly &read, uint64_t size) {
    Bytes bytes = read(static_cast<size_t>(std::min<uint64_t>(size, 40)));
    skip(read, size + size % 2 - bytes.size());
    return bytes;
}

PcmSpec spec_of(const Bytes &chunk) {
    if (chunk.size() < 16) throw Failure("standard input: a damaged WAV header; send the file again");
    const auto field = [&](size_t at, size_t count) { return little_endian(chunk.data() + at, count); };
    uint64_t tag = field(0, 2);
    if (tag == kExtensible && chunk.size() >= 26) tag = field(24, 2);
    const uint64_t bits = field(14, 2);
    PcmSpec spec;
    if (tag == kPcm && (bits == 16 || bits == 24 || bits == 32))
        spec.format = "s" + std::to_string(bits) + "le";
    else if (tag == kFloat && bits == 32)
        spec.format = "f32le";
    else
        throw Failure("standard input: WAV of " + std::to_string(bits) + " bits, format " + std::to_string(tag) + "; " +
                      kConvert);
    spec.channels = static_cast<long>(field(2, 2));
    spec.sample_rate = static_cast<long>(field(4, 4));
    spec.check();
    if (field(12, 2) != spec.frame_bytes())
        throw Failure("standard input: a WAV header that contradicts itself; send it again");
    return spec;
}

// None for what writers leave who do not know: ffmpeg 2^32 - 1, others 0, 2^31 (arecord) or 2^31 - 1 (sox), the
// last two less a header.
std::optional<uint64_t> known_size(uint64_t said) {
    if (said == 0 || (said >= 0x7FFF0000 && said <= 0x80000000) || said >= 0xFFFF0000) return std::nullopt;
    return said;
}

}  // namespace

size_t PcmSpec::sample_bytes() const { return format == "s16le" ? 2 : format == "s24le" ? 3 : 4; }

void PcmSpec::check() const {
    if (format != "s16le" && format != "s24le" && format != "s32le" && format != "f32le")
        throw Failure("--format " + format + "; give s16le, s24le, s32le or f32le");
    if (sample_rate < kLeastRate || sample_rate > kMostRate)
        throw Failure("a sample rate of " + std::to_string(sample_rate) + " Hz; it must be 1000 to 768000");
    if (channels < 1 || channels > kMostChannels)
        throw Failure(std::to_string(channels) + " channels; there must be 1 to 64");
}

void PcmSpec::decode(const Bytes &data, std::vector<std::vector<float>> &wave) const {
    const size_t size = sample_bytes(), count = static_cast<size_t>(channels), n = data.size() / frame_bytes();
    const bool is_float = format == "f32le";
    for (size_t c = 0; c < count; ++c) {
        wave[c].resize(n);
        for (size_t i = 0; i < n; ++i) {
            // Integers of any size at the top of 32 bits.
            const auto bits =
                static_cast<uint32_t>(little_endian(data.data() + (i * count + c) * size, size) << (32 - 8 * size));
            if (is_float)
                std::memcpy(&wave[c][i], &bits, sizeof bits);
            else
                wave[c][i] = static_cast<float>(static_cast<int32_t>(bits)) / 2147483648.0F;
        }
    }
}

Bytes PcmSpec::encode(const std::vector<std::vector<float>> &wave, size_t n, size_t &clipped) const {
    Bytes bytes;
    bytes.reserve(n * frame_bytes());
    const double full = std::ldexp(1.0, static_cast<int>(8 * sample_bytes()) - 1);
    for (size_t i = 0; i < n; ++i)
        for (const std::vector<float> &channel : wave) {
            const float sample = channel[i];
            if (format == "f32le") {
                uint32_t bits = 0;
                std::memcpy(&bits, &sample, sizeof bits);
                append(bytes, bits, sizeof bits);
                continue;
            }
            clipped += std::fabs(sample) > 1.0F ? 1 : 0;
            const double value = std::clamp(std::nearbyint(static_cast<double>(sample) * full), -full, full - 1);
            append(bytes, static_cast<uint64_t>(static_cast<int64_t>(value)), sample_bytes());
        }
    return bytes;
}

WavHeader read_wav_header(const ReadExactly &read) {
    const Bytes begin = read(8);
    if (begin.size() < 8 || std::memcmp(begin.data() + 4, "WAVE", 4) != 0)
        throw Failure("standard input: RIFF, but not WAV; give WAV, or raw PCM with --format");
    std::optional<PcmSpec> spec;
    std::optional<uint64_t> long_bytes;
    while (true) {
        const Bytes head = read(8);
        if (head.size() < 8) throw Failure("standard input: a WAV header without samples; send the file again");
        const uint64_t size = little_endian(head.data() + 4, 4);
        if (is(head, "data")) {
            if (!spec) throw Failure("standard input: a WAV header that says no format; send the file again");
            if (size == kUnknown && long_bytes) return {*spec, long_bytes};
            return {*spec, known_size(size)};
        }
        if (is(head, "fmt ")) {
            spec = spec_of(body(read, size));
        } else if (is(head, "ds64")) {
            const Bytes sizes = body(read, size);
            const uint64_t said = sizes.size() >= 16 ? little_endian(sizes.data() + 8, 8) : 0;
            if (said != 0) long_bytes = said;
        } else {
            skip(read, size + size % 2);
        }
    }
}

Bytes wav_header(const WavHeader &header) {
    constexpr uint64_t head_bytes = 44;
    const PcmSpec &spec = header.spec;
    uint64_t size = header.data_bytes.value_or(kUnknown);
    Bytes bytes;
    if (header.data_bytes && size + head_bytes > kUnknown) {
        append(bytes, "RF64");
        append(bytes, kUnknown, 4);
        append(bytes, "WAVE");
        append(bytes, "ds64");
        append(bytes, 28, 4);
        append(bytes, size + head_bytes - 8 + 36, 8);
        append(bytes, size, 8);
        append(bytes, size / spec.frame_bytes(), 8);
        append(bytes, 0, 4);
        size = kUnknown;
    } else {
        append(bytes, "RIFF");
        append(bytes, std::min<uint64_t>(size + head_bytes - 8, kUnknown), 4);
        append(bytes, "WAVE");
    }
    append(bytes, "fmt ");
    append(bytes, 16, 4);
    append(bytes, spec.format == "f32le" ? kFloat : kPcm, 2);
    append(bytes, static_cast<uint64_t>(spec.channels), 2);
    append(bytes, static_cast<uint64_t>(spec.sample_rate), 4);
    append(bytes, static_cast<uint64_t>(spec.sample_rate) * spec.frame_bytes(), 4);
    append(bytes, spec.frame_bytes(), 2);
    append(bytes, 8 * spec.sample_bytes(), 2);
    append(bytes, "data");
    append(bytes, size, 4);
    return bytes;
}

}  // namespace tool
