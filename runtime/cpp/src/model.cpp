#include "model.h"

#include "onnx_file.h"

namespace frcrn {
namespace {

bool is_precision(const std::string &name) {
    return name == "fp32" || name == "fp16" || name == "int8" || name == "fp8";
}

Manifest with_high_pass(Manifest manifest, int wanted) {
    if (wanted == 0) manifest.high_pass.reset();
    if (wanted == 1 && !manifest.high_pass) manifest.high_pass = HighPass{};
    return manifest;
}

}  // namespace

Model::Model(const std::string &path, std::shared_ptr<const OnnxRuntime> ort, const ModelSettings &settings)
    : bundle_(path),
      manifest_(with_high_pass(bundle_.manifest(), settings.high_pass)),
      ort_(std::move(ort)),
      settings_(settings) {
    if (!is_precision(settings.precision))
        throw Error(FRCRN_ARGUMENT, "precision " + shown(settings.precision) +
                                        "; there are: fp32, fp16, int8, fp8");
    if (!is_provider(settings.provider))
        throw Error(FRCRN_ARGUMENT, "provider " + shown(settings.provider) +
                                        "; there are: cpu, cuda, tensorrt, tensorrt-rtx");
    core_ = choose("core");
    if (core_ == nullptr) core_ = choose("pipeline");
    long_ = settings.precision == "fp32" && on_processor() ? choose("core_long") : nullptr;
    streaming_ = choose("core_streaming");
}

// INT8 and FP8 files are quantized for processors or for TensorRT; that of the provider comes first.
const File *Model::choose(const std::string &role) const {
    const std::string &precision = settings_.precision;
    if (precision != "int8" && precision != "fp8") return manifest_.file(role, "onnx", precision);
    for (const char *target : {on_processor() ? "cpu" : "tensorrt", on_processor() ? "tensorrt" : "cpu"})
        if (const File *file = manifest_.file(role, "onnx", precision, target)) return file;
    return nullptr;
}

const File &Model::require_core() const {
    if (core_ != nullptr) return *core_;
    throw Error(FRCRN_UNSUPPORTED, bundle_.path() + ": no core in " + settings_.precision +
                                       " in this bundle; see `frcrn-export inspect`, or export one: "
                                       "frcrn-export onnx -o NEW_BUNDLE");
}

const File &Model::require_streaming_core() const {
    if (streaming_ != nullptr) return *streaming_;
    throw Error(FRCRN_UNSUPPORTED, bundle_.path() + ": no streaming core in " + settings_.precision +
                                       " in this bundle; export one: frcrn-export onnx --streaming -o "
                                       "NEW_BUNDLE");
}

std::shared_ptr<const Session> Model::session(const File &file, bool for_streams) const {
    const std::lock_guard<std::mutex> lock(opening_);
    std::shared_ptr<const Session> &session = sessions_[{file.path, for_streams}];
    if (session == nullptr) {
        SessionSettings options;
        options.provider = settings_.provider;
        options.provider_library = settings_.provider_library;
        // A hop is too short to share among threads, unless the caller wants it.
        options.threads = for_streams ? std::max(1, settings_.stream_threads) : settings_.threads;
        options.spinning = !for_streams;
        session = std::make_shared<Session>(ort_, path_to_open(file), options);
    }
    return session;
}

std::string Model::path_to_open(const File &file) const {
    std::string path = bundle_.checked(file);
    if (const std::string foreign = foreign_part(path); !foreign.empty())
        throw Error(FRCRN_BUNDLE, path + ": it holds " + foreign + "; export the bundle again");
    return path;
}

}  // namespace frcrn
