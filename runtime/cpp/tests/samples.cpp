#include "samples.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace frcrn::samples {
namespace {

std::string varint(uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
    return out + static_cast<char>(value);
}

}  // namespace

std::string little(uint64_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
    return out;
}

File::File(const std::string &content) {
    const char *folder = std::getenv("TMPDIR");
    path_ = std::string(folder != nullptr ? folder : "/tmp") + "/frcrn-test-XXXXXX";
    const int file = ::mkstemp(path_.data());
    if (file < 0) std::abort();
    for (size_t at = 0; at < content.size();) {
        const ssize_t count = ::write(file, content.data() + at, content.size() - at);
        if (count <= 0) std::abort();
        at += static_cast<size_t>(count);
    }
    ::close(file);
}

File::~File() { std::remove(path_.c_str()); }

std::string manifest() {
    return R"({
"schema": 2, "model": "small", "domain": "spectrum", "sample_rate": 16000, "level": "active_rms",
"weights": {"source": "checkpoint", "name": "small", "licence": "Apache-2.0", "attribution": "Somebody"},
"stft": {"window_length": 8, "hop_length": 4, "fft_length": 8, "window": "sqrt_hann", "center": false},
"padding": {"rule": "hops", "size": 8, "stride": 4},
"segments": {"length": 64, "left": 8, "right": 8, "above": 128},
"high_pass": {"cutoff_hz": 20.0, "streaming_cutoff_hz": 10.0},
"files": [
 {"path": "core.onnx", "role": "core", "format": "onnx", "precision": "fp32", "bytes": 4, "above_frames": 0,
  "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  "inputs": [{"name": "spec", "dtype": "float32", "shape": ["batch", 2, 5, "frames"]}],
  "outputs": [{"name": "enhanced", "dtype": "float32", "shape": ["batch", 2, 5, "frames"]}],
  "floor_db": 90, "input_limit": 100.0, "min_onnxruntime": "1.17"},
 {"path": "streaming/core.onnx", "role": "core_streaming", "format": "onnx", "precision": "fp32", "bytes": 4,
  "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  "inputs": [{"name": "spec", "dtype": "float32", "shape": ["batch", 2, 5, 1]}],
  "outputs": [{"name": "enhanced", "dtype": "float32", "shape": ["batch", 2, 5, 1]}],
  "streaming": {"chunk": 1, "lookahead": 2, "end": "end",
   "states": [{"name": "past", "next": "past_next", "shape": ["batch", 2, 3], "dtype": "float32", "initial": 0.0}]}},
 {"path": "core.engine", "role": "core", "format": "engine", "precision": "int8", "bytes": 4,
  "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  "quantization": {"target": "tensorrt"},
  "engine": {"backend": "tensorrt-rtx", "source": "core.onnx", "gpu": "8.9", "sms": [89],
   "profile": {"min": [1, 2, 5, 1], "opt": [1, 2, 5, 9], "max": [4, 2, 5, 99]}}}
]})";
}

std::string npy_of(const std::string &header, const std::string &bytes) {
    return "\x93NUMPY" + std::string("\x01\x00", 2) + little(header.size(), 2) + header + bytes;
}

std::string npy(const std::string &shape, const std::vector<float> &values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }\n", bytes);
}

// Hashes are left at 0: the reader checks that of the whole file.
std::string zip(const Members &members) {
    std::string out, directory;
    for (const auto &[name, content] : members) {
        const std::string sizes = little(0, 4) + little(content.size(), 4) + little(content.size(), 4);
        const std::string about =
            little(0, 2) + little(0, 2) + little(0, 4) + sizes + little(name.size(), 2) + little(0, 2);
        directory += "PK\x01\x02" + little(20, 2) + little(20, 2) + about + little(0, 2) + little(0, 2) + little(0, 2) +
                     little(0, 4) + little(out.size(), 4) + name;
        out += "PK\x03\x04" + little(20, 2) + about + name + content;
    }
    return out + directory + "PK\x05\x06" + little(0, 4) + little(members.size(), 2) + little(members.size(), 2) +
           little(directory.size(), 4) + little(out.size(), 4) + little(0, 2);
}

std::string field(uint64_t number, const std::string &bytes) {
    return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string node(const std::string &operation, const std::string &attributes) {
    return field(1, "x") + field(2, "y") + field(4, operation) + attributes;
}

std::string attribute_graph(const std::string &graph) { return field(5, field(1, "body") + field(6, graph)); }

std::string graph(const std::vector<std::string> &nodes) {
    std::string out;
    for (const std::string &each : nodes) out += field(1, each);
    return out + field(2, "g");
}

std::string onnx(const std::string &graph) { return std::string("\x08\x08", 2) + field(7, graph); }

}  // namespace frcrn::samples
