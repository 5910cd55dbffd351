#include "sessions/session.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>

namespace frcrn {
namespace {

constexpr int kFatal = ORT_LOGGING_LEVEL_FATAL;  // errors reach us as statuses
const char *const kPluginName = "frcrn_nv_tensorrt_rtx";
const char *const kPluginProvider = "NvTensorRTRTXExecutionProvider";

void require_available(const OnnxRuntime &ort, const char *provider) {
    char **names = nullptr;
    int count = 0;
    ort.check(ort.api().GetAvailableProviders(&names, &count));
    bool found = false;
    std::string all;
    for (int i = 0; i < count; ++i) {
        found |= std::strcmp(names[i], provider) == 0;
        all += std::string(i > 0 ? ", " : "") + names[i];
    }
    ort.check(ort.api().ReleaseAvailableProviders(names, count));
    if (!found)
        throw Error(FRCRN_RUNTIME, "ONNX Runtime " + ort.version() + " has no " + provider + " (it has " + all +
                                       "); take the library of onnxruntime-gpu, or provider \"cpu\"");
}

void append_cuda(const OnnxRuntime &ort, OrtSessionOptions *options) {
    require_available(ort, "CUDAExecutionProvider");
    OrtCUDAProviderOptionsV2 *cuda = nullptr;
    ort.check(ort.api().CreateCUDAProviderOptions(&cuda));
    OrtStatus *status = ort.api().SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda);
    ort.api().ReleaseCUDAProviderOptions(cuda);
    ort.check(status);
}

void append_tensorrt(const OnnxRuntime &ort, OrtSessionOptions *options) {
    require_available(ort, "TensorrtExecutionProvider");
    OrtTensorRTProviderOptionsV2 *tensorrt = nullptr;
    ort.check(ort.api().CreateTensorRTProviderOptions(&tensorrt));
    OrtStatus *status = ort.api().SessionOptionsAppendExecutionProvider_TensorRT_V2(options, tensorrt);
    ort.api().ReleaseTensorRTProviderOptions(tensorrt);
    ort.check(status);
}

// A plugin provider is registered once in an environment, and then gives a device for each GPU.
void append_plugin(const OnnxRuntime &ort, OrtSessionOptions *options, const std::string &library) {
    const OrtApi &api = ort.plugin_api();
    const auto devices_of_plugin = [&] {
        const OrtEpDevice *const *devices = nullptr;
        size_t count = 0;
        ort.check(api.GetEpDevices(ort.env(), &devices, &count));
        std::vector<const OrtEpDevice *> found;
        for (size_t i = 0; i < count; ++i)
            if (std::strcmp(api.EpDevice_EpName(devices[i]), kPluginProvider) == 0) found.push_back(devices[i]);
        return found;
    };
    static std::mutex registering;
    const std::lock_guard<std::mutex> lock(registering);
    std::vector<const OrtEpDevice *> devices = devices_of_plugin();
    if (devices.empty()) {
        if (library.empty())
            throw Error(FRCRN_RUNTIME,
                        "provider \"tensorrt-rtx\" needs provider_library: the path of the plugin, "
                        "libonnxruntime_providers_nv_tensorrt_rtx.so");
        OrtStatus *status = api.RegisterExecutionProviderLibrary(ort.env(), kPluginName, library.c_str());
        if (status != nullptr) {
            const std::string text = ort.api().GetErrorMessage(status);
            ort.api().ReleaseStatus(status);
            throw Error(FRCRN_RUNTIME,
                        library + ": not a provider that ONNX Runtime " + ort.version() + " can load (" + text + ")");
        }
        devices = devices_of_plugin();
    }
    if (devices.empty())
        throw Error(FRCRN_RUNTIME, library + ": the provider has no device here; it needs an NVIDIA GPU");
    ort.check(api.SessionOptionsAppendExecutionProvider_V2(options, ort.env(), devices.data(), 1, nullptr, nullptr, 0));
}

// More threads than processors would only wait for each other. 0 is ONNX Runtime's own choice, where this
// process may use all processors of the machine.
int thread_count(int wanted) {
    const int usable = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    if (wanted > 0) return std::min(wanted, usable);
    return usable == ::sysconf(_SC_NPROCESSORS_ONLN) ? 0 : usable;
}

Owned<OrtSessionOptions> session_options(const OnnxRuntime &ort, const SessionSettings &settings) {
    const OrtApi &api = ort.api();
    auto options = made<OrtSessionOptions>(ort, [&](auto **out) { return api.CreateSessionOptions(out); });
    const GraphOptimizationLevel level = settings.optimized ? ORT_ENABLE_ALL : ORT_DISABLE_ALL;
    ort.check(api.SetSessionGraphOptimizationLevel(options.get(), level));
    ort.check(api.SetSessionLogSeverityLevel(options.get(), kFatal));
    // Independent of the file name: `.ort` would be taken as another format.
    ort.check(api.AddSessionConfigEntry(options.get(), "session.load_model_format", "ONNX"));
    ort.check(api.SetIntraOpNumThreads(options.get(), thread_count(settings.threads)));
    if (!settings.spinning) ort.check(api.AddSessionConfigEntry(options.get(), "session.force_spinning_stop", "1"));
    // A memory pattern would hold a second copy of all activations.
    ort.check(api.DisableMemPattern(options.get()));
    if (settings.provider == "tensorrt") append_tensorrt(ort, options.get());
    if (settings.provider == "tensorrt" || settings.provider == "cuda") append_cuda(ort, options.get());
    if (settings.provider == "tensorrt-rtx") append_plugin(ort, options.get(), settings.provider_library);
    return options;
}

}  // namespace

bool is_provider(const std::string &name) {
    return name == "cpu" || name == "cuda" || name == "tensorrt" || name == "tensorrt-rtx";
}

int64_t Output::values() const {
    int64_t product = 1;
    for (const int64_t size : shape) product *= size;
    return product;
}

Session::Session(std::shared_ptr<const OnnxRuntime> ort, const std::string &path, const SessionSettings &settings)
    : ort_(std::move(ort)) {
    const OrtApi &api = ort_->api();
    memory_ = made<OrtMemoryInfo>(
        *ort_, [&](auto **out) { return api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, out); });
    options_ = made<OrtRunOptions>(*ort_, [&](auto **out) { return api.CreateRunOptions(out); });
    ort_->check(api.RunOptionsSetRunLogSeverityLevel(options_.get(), kFatal));
    const auto options = session_options(*ort_, settings);
    try {
        session_ = made<OrtSession>(
            *ort_, [&](auto **out) { return api.CreateSession(ort_->env(), path.c_str(), options.get(), out); });
    } catch (const Error &error) {
        throw Error(error.status,
                    path + ": cannot be loaded by provider " + settings.provider + " (" + error.what() + ")");
    }
}

Owned<OrtValue> Session::tensor(void *data, size_t bytes, const std::vector<int64_t> &shape,
                                ONNXTensorElementDataType type) const {
    return made<OrtValue>(*ort_, [&](auto **out) {
        return ort_->api().CreateTensorWithDataAsOrtValue(memory_.get(), data, bytes, shape.data(), shape.size(), type,
                                                          out);
    });
}

Output Session::run(const std::string &input, const float *data, const std::vector<int64_t> &shape,
                    const std::string &output) const {
    const OrtApi &api = ort_->api();
    size_t bytes = sizeof(float);
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    // ONNX Runtime does not write to inputs; its interface has no tensor of constant memory.
    const auto given = tensor(const_cast<float *>(data), bytes, shape, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    const char *input_name = input.c_str(), *output_name = output.c_str();
    const OrtValue *inputs[] = {given.get()};
    Output result;
    result.value = made<OrtValue>(*ort_, [&](auto **out) {
        return api.Run(session_.get(), options_.get(), &input_name, inputs, 1, &output_name, 1, out);
    });
    OrtTensorTypeAndShapeInfo *info = nullptr;
    ort_->check(api.GetTensorTypeAndShape(result.value.get(), &info));
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t axes = 0;
    OrtStatus *status = api.GetTensorElementType(info, &type);
    if (status == nullptr) status = api.GetDimensionsCount(info, &axes);
    result.shape.resize(status == nullptr ? axes : 0);
    if (status == nullptr) status = api.GetDimensions(info, result.shape.data(), axes);
    api.ReleaseTensorTypeAndShapeInfo(info);
    ort_->check(status);
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
        throw Error(FRCRN_BACKEND, "the output " + shown(output) + " is not float32");
    void *values = nullptr;
    ort_->check(api.GetTensorMutableData(result.value.get(), &values));
    result.data = static_cast<const float *>(values);
    return result;
}

}  // namespace frcrn
