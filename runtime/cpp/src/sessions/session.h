// A network opened in ONNX Runtime.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sessions/onnxruntime.h"

namespace frcrn {

struct SessionSettings {
    std::string provider = "cpu";  // "cpu", "cuda", "tensorrt", "tensorrt-rtx"
    std::string provider_library;  // of plugin providers
    int threads = 0;               // of a processor; 0 is all
    bool optimized = true;         // whether ONNX Runtime rewrites the graph; an engine is one node
    bool spinning = true;          // whether threads wait busily between runs, too
};

// Whether a provider of this name exists at all.
bool is_provider(const std::string &name);

// An array that ONNX Runtime owns.
struct Output {
    Owned<OrtValue> value;
    const float *data = nullptr;
    std::vector<int64_t> shape;

    int64_t values() const;
};

// Any number of threads may run a session at once.
class Session {
public:
    // Raises Error(FRCRN_RUNTIME) for a provider that is not there, Error(FRCRN_BACKEND) for a file
    // that cannot be loaded.
    Session(std::shared_ptr<const OnnxRuntime> ort, const std::string &path, const SessionSettings &settings);

    const OnnxRuntime &ort() const { return *ort_; }
    OrtSession *get() const { return session_.get(); }

    // The first output for one input.
    Output run(const std::string &input, const float *data, const std::vector<int64_t> &shape,
               const std::string &output) const;

    // A tensor over memory of the caller, on the processor.
    Owned<OrtValue> tensor(void *data, size_t bytes, const std::vector<int64_t> &shape,
                           ONNXTensorElementDataType type) const;

private:
    std::shared_ptr<const OnnxRuntime> ort_;
    Owned<OrtMemoryInfo> memory_;
    Owned<OrtRunOptions> options_;
    Owned<OrtSession> session_;
};

}  // namespace frcrn
