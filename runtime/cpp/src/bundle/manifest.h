// manifest.json, the contract of a bundle: docs/bundle.md is its normative text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace frcrn {

struct StftSpec {
    int64_t window_length = 0, hop_length = 0, fft_length = 0;
    std::string window = "sqrt_hann", synthesis_window;  // of the second, "" is as the first
    bool center = false;
    std::string pad_mode = "reflect";

    int64_t bins() const { return fft_length / 2 + 1; }
    // Samples of padding on both sides that a window reaches.
    int64_t margin() const { return center ? window_length / 2 : 0; }
    // Where the window begins in the FFT's input.
    int64_t offset() const { return center ? (fft_length - window_length) / 2 : 0; }
    bool mirrors() const { return center && pad_mode == "reflect"; }
    // The least number of samples that can be analysed.
    int64_t shortest() const { return mirrors() ? margin() + 1 : center ? 1 : window_length; }
    int64_t frames(int64_t samples) const { return 1 + (samples + 2 * margin() - window_length) / hop_length; }
    int64_t samples(int64_t frames) const { return window_length - 2 * margin() + hop_length * (frames - 1); }
};

struct Padding {
    std::string rule;  // "multiple", "hops", "windows"
    int64_t size = 1, stride = 1;

    // Zeros after an utterance of this many samples that goes through the core whole.
    int64_t samples(int64_t given) const;
};

struct Segments {
    int64_t length = 1, left = 0, right = 0, above = 0;

    int64_t stride() const { return length - left - right; }
};

struct HighPass {
    double cutoff_hz = 20.0, streaming_cutoff_hz = 10.0;
};

struct Tensor {
    std::string name, dtype;
    std::vector<int64_t> shape;  // -1 is a dynamic axis

    int64_t row_values() const;  // of one row of the batch, dynamic axes as 1
};

struct State {
    std::string name, next, dtype = "float32";
    std::vector<int64_t> row_shape;
    double initial = 0.0;

    int64_t row_values() const;
    size_t value_bytes() const { return dtype == "uint8" ? 1 : 4; }
    size_t row_bytes() const { return static_cast<size_t>(row_values()) * value_bytes(); }
};

struct Streaming {
    int64_t chunk = 1, lookahead = 0;
    std::string end;  // "" where the core has no such input
    std::vector<State> states;
};

struct Engine {
    std::string backend, source, gpu;
    std::string context;               // the EPContext file that names it; "" where there is none
    std::vector<int64_t> least, most;  // the shapes of its input
    std::vector<int64_t> sms;
    bool hardware_compatible = false;

    // Of streams: the number of rows, used or not.
    int64_t rows() const { return most[0]; }
    bool takes(const std::vector<int64_t> &shape) const;
};

struct File {
    std::string path, role, format, precision, sha256, target;  // target of quantized files, else ""
    int64_t bytes = 0, above_frames = 0;
    std::vector<Tensor> inputs, outputs;
    double input_limit = 0.0;  // 0: none
    std::string min_onnxruntime;
    double floor_db = 0.0;  // the parity floor
    std::optional<Streaming> streaming;
    std::optional<Engine> engine;
};

struct Manifest {
    std::string model, domain, level, licence, attribution;
    bool random_weights = false;
    int64_t sample_rate = 0;
    std::optional<StftSpec> stft;
    Padding padding;
    Segments segments;
    std::optional<HighPass> high_pass;
    std::vector<File> files;

    // The file of this path; or NULL.
    const File *file(const std::string &path) const;
    // The file of this role, format and precision, quantized for `target`; or NULL.
    const File *file(const std::string &role, const std::string &format, const std::string &precision,
                     const std::string &target = "") const;
};

// The `end` of a stream whose length is not known yet; exact in float32.
constexpr int64_t kUnknownEnd = int64_t{1} << 24;

// Read and check a manifest. Raises Error(FRCRN_BUNDLE) that begins with `source` and names the field,
// for what is not JSON, another schema, a missing or impossible value, a path that leaves the bundle.
Manifest parse_manifest(const std::string &text, const std::string &source);

}  // namespace frcrn
