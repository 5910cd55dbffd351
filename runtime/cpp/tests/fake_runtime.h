// An ONNX Runtime that says its version and makes an environment, and nothing else: for what comes before
// a network is loaded.
#pragma once

#include <onnxruntime_c_api.h>

namespace frcrn::samples {

// `newest`: the latest C API that it has.
template <uint32_t newest>
const OrtApiBase *fake_runtime() {
    static const OrtApi api = [] {
        OrtApi table{};
        table.CreateEnv = [](OrtLoggingLevel, const char *, OrtEnv **out) noexcept -> OrtStatusPtr {
            *out = reinterpret_cast<OrtEnv *>(out);
            return nullptr;
        };
        table.DisableTelemetryEvents = [](const OrtEnv *) noexcept -> OrtStatusPtr { return nullptr; };
        table.ReleaseEnv = [](OrtEnv *) noexcept {};
        return table;
    }();
    static const OrtApiBase base = {
        [](uint32_t version) noexcept -> const OrtApi * { return version <= newest ? &api : nullptr; },
        []() noexcept { return "1.0-fake"; }};
    return &base;
}

}  // namespace frcrn::samples
