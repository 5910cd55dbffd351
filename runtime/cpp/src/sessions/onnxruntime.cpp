#include "sessions/onnxruntime.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace frcrn {
namespace {

using GetApiBase = const OrtApiBase *(*)();

const char *const kVariable = "FRCRN_ONNXRUNTIME";
// Distributions name the library with its minor version: libonnxruntime.so.1.23.
constexpr int kOldestMinor = 17, kNewestMinor = 99;

// The path of a copy that the process has loaded: two copies in one process clash.
std::string loaded_copy() {
    std::string found;
    ::dl_iterate_phdr(
        [](dl_phdr_info *info, size_t, void *data) {
            const char *slash = std::strrchr(info->dlpi_name, '/');
            const char *name = slash != nullptr ? slash + 1 : info->dlpi_name;
            if (std::strncmp(name, "libonnxruntime.so", 17) != 0) return 0;
            *static_cast<std::string *>(data) = info->dlpi_name;
            return 1;
        },
        &found);
    return found;
}

// The library is never unloaded: ONNX Runtime keeps threads and thread-local data.
GetApiBase open_library(const std::string &name, std::string &tried) {
    void *library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    const char *problem = library == nullptr ? ::dlerror() : nullptr;
    void *found = library != nullptr ? ::dlsym(library, "OrtGetApiBase") : nullptr;
    if (found == nullptr) {
        tried += (tried.empty() ? "" : "; ") + name + " (" +
                 (problem != nullptr ? problem : "no ONNX Runtime: OrtGetApiBase is missing") + ")";
        return nullptr;
    }
    return reinterpret_cast<GetApiBase>(found);
}

// The newest library whose name ends in a minor version; NULL where there is none.
GetApiBase open_versioned(std::string &tried) {
    std::string unusable;
    for (int minor = kNewestMinor; minor >= kOldestMinor; --minor) {
        const std::string name = "libonnxruntime.so.1." + std::to_string(minor);
        std::string problem;
        if (const GetApiBase get = open_library(name, problem)) return get;
        if (problem.find("No such file") == std::string::npos) unusable += "; " + problem;
    }
    tried +=
        "; libonnxruntime.so.1." + std::to_string(kOldestMinor) + " to ." + std::to_string(kNewestMinor) + unusable;
    return nullptr;
}

const OrtApiBase *find_base(const std::string &library) {
    std::string tried;
    std::vector<std::string> names;
    bool versioned = false;
    const char *variable = std::getenv(kVariable);
    if (!library.empty()) {
        names = {library};
    } else if (const std::string loaded = loaded_copy(); !loaded.empty()) {
        names = {loaded};
    } else if (variable != nullptr && *variable != '\0') {
        names = {variable};
    } else {
        names = {"libonnxruntime.so.1", "libonnxruntime.so"};
        versioned = true;
    }
    for (const std::string &name : names)
        if (const GetApiBase get = open_library(name, tried)) return get();
    if (const GetApiBase get = versioned ? open_versioned(tried) : nullptr) return get();
    if (!library.empty())
        throw Error(FRCRN_RUNTIME, "no ONNX Runtime was found; tried: " + tried + "; give the path of its library");
    throw Error(FRCRN_RUNTIME, "no ONNX Runtime was found; tried: " + tried + "; set " + kVariable +
                                   " to the path of its library, such as "
                                   "/usr/lib/libonnxruntime.so.1");
}

}  // namespace

OnnxRuntime::OnnxRuntime(const void *base, const std::string &library)
    : base_(base != nullptr ? static_cast<const OrtApiBase *>(base) : find_base(library)) {
    version_ = base_->GetVersionString();
    api_ = base_->GetApi(kBaseApi);
    if (api_ == nullptr)
        throw Error(FRCRN_RUNTIME, "ONNX Runtime " + version_ + " is too old: it has no C API " +
                                       std::to_string(kBaseApi) + "; take 1.17 or later");
    check(api_->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "frcrn", &env_));
    check(api_->DisableTelemetryEvents(env_));  // builds of some systems report by default
}

OnnxRuntime::~OnnxRuntime() {
    if (env_ != nullptr) api_->ReleaseEnv(env_);
}

const OrtApi &OnnxRuntime::plugin_api() const {
    const OrtApi *api = base_->GetApi(kPluginApi);
    if (api == nullptr)
        throw Error(FRCRN_RUNTIME,
                    "ONNX Runtime " + version_ + " has no plugin providers (C API 22); take 1.22 or later");
    return *api;
}

void OnnxRuntime::check(OrtStatus *status) const {
    if (status == nullptr) return;
    const std::string text = api_->GetErrorMessage(status);
    api_->ReleaseStatus(status);
    throw Error(FRCRN_BACKEND, "ONNX Runtime " + version_ + ": " + text);
}

}  // namespace frcrn
