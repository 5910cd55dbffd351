// ONNX Runtime, loaded when the first model opens: one binary runs on 1.17 to today.
#pragma once

#include <memory>
#include <string>

#include <onnxruntime_c_api.h>

#include "error.h"

namespace frcrn {

// What the functions that we use need: the table only ever grows, and GetApi(17) is that of 1.17.
constexpr uint32_t kBaseApi = 17;
// Plugin providers, 1.22 and later.
constexpr uint32_t kPluginApi = 22;

class OnnxRuntime {
public:
    // `base`: what the program has already, or NULL; `library`: a path, or "". Without both: a copy
    // that the process has loaded, FRCRN_ONNXRUNTIME, or what the loader finds.
    // Raises Error(FRCRN_RUNTIME) that names what was tried.
    OnnxRuntime(const void *base, const std::string &library);
    ~OnnxRuntime();
    OnnxRuntime(const OnnxRuntime &) = delete;
    OnnxRuntime &operator=(const OnnxRuntime &) = delete;

    const OrtApi &api() const { return *api_; }
    OrtEnv *env() const { return env_; }
    const std::string &version() const { return version_; }

    // The table with plugin providers. Raises Error(FRCRN_RUNTIME) where the library is too old.
    const OrtApi &plugin_api() const;

    // Raise Error(FRCRN_BACKEND) for a failure of a call.
    void check(OrtStatus *status) const;

private:
    const OrtApiBase *base_ = nullptr;
    const OrtApi *api_ = nullptr;
    OrtEnv *env_ = nullptr;
    std::string version_;
};

// An object of ONNX Runtime that is released with its owner: Owned<OrtSession>.
template <typename Type>
struct Release;
#define FRCRN_RELEASE(TYPE)                                                      \
    template <>                                                                  \
    struct Release<Ort##TYPE> {                                                  \
        const OrtApi *api = nullptr;                                             \
        void operator()(Ort##TYPE *object) const { api->Release##TYPE(object); } \
    }
FRCRN_RELEASE(Session);
FRCRN_RELEASE(SessionOptions);
FRCRN_RELEASE(RunOptions);
FRCRN_RELEASE(IoBinding);
FRCRN_RELEASE(Value);
FRCRN_RELEASE(MemoryInfo);
FRCRN_RELEASE(Allocator);
FRCRN_RELEASE(TypeInfo);
#undef FRCRN_RELEASE
template <typename Type>
using Owned = std::unique_ptr<Type, Release<Type>>;

// The object that a creating call gives: `made<OrtValue>(ort, [&](OrtValue **out) { return ...; })`.
template <typename Type, typename Create>
Owned<Type> made(const OnnxRuntime &ort, Create &&create) {
    Type *object = nullptr;
    ort.check(create(&object));
    return Owned<Type>(object, Release<Type>{&ort.api()});
}

}  // namespace frcrn
