#include "sessions/model.h"

#include <filesystem>
#include <tuple>

#include "bundle/onnx_file.h"

namespace frcrn {
namespace {

bool is_precision(const std::string &name) {
    return name == "fp32" || name == "fp16" || name == "int8" || name == "fp8";
}

// The rows of an engine for streams; engines for recordings take a range of them.
size_t rows_of(const File &engine) { return engine.streaming ? static_cast<size_t>(engine.engine->rows()) : 1; }

// Sorts engines: the fewest rows first, then the fastest.
auto rank(const File &file) {
    const Engine &engine = *file.engine;
    return std::make_tuple(rows_of(file), engine.hardware_compatible, file.precision != "fp16", engine.sms.size());
}

Manifest with_high_pass(Manifest manifest, int wanted) {
    if (wanted == 0) manifest.high_pass.reset();
    if (wanted == 1 && !manifest.high_pass) manifest.high_pass = HighPass{};
    return manifest;
}

}  // namespace

Model::Model(Bundle bundle, std::shared_ptr<const OnnxRuntime> ort, const ModelSettings &settings)
    : bundle_(std::move(bundle)),
      manifest_(with_high_pass(bundle_.manifest(), settings.high_pass)),
      ort_(std::move(ort)),
      settings_(settings) {
    if (!settings.precision.empty() && !is_precision(settings.precision))
        throw Error(FRCRN_ARGUMENT, "precision " + shown(settings.precision) + "; there are: fp32, fp16, int8, fp8");
    if (!is_provider(settings.provider))
        throw Error(FRCRN_ARGUMENT,
                    "provider " + shown(settings.provider) + "; there are: cpu, cuda, tensorrt, tensorrt-rtx");
    core_ = choose("core");
    if (core_ == nullptr) core_ = choose("pipeline");
    const bool is_float32 = core_ != nullptr && core_->precision == "fp32";
    long_ = is_float32 && on_processor() ? choose("core_long") : nullptr;
    streaming_ = choose("core_streaming");
}

// INT8 and FP8 files are quantized for processors or for TensorRT; that of the provider comes first.
const File *Model::choose(const std::string &role) const {
    if (const File *engine = choose_engine(role)) return engine;
    const std::string precision = this->precision();
    if (precision != "int8" && precision != "fp8") return manifest_.file(role, "onnx", precision);
    for (const char *target : {on_processor() ? "cpu" : "tensorrt", on_processor() ? "tensorrt" : "cpu"})
        if (const File *file = manifest_.file(role, "onnx", precision, target)) return file;
    return nullptr;
}

const File *Model::choose_engine(const std::string &role, size_t streams) const {
    const File *best = nullptr;
    for (const File &file : manifest_.files) {
        if (!file.engine || file.engine->backend != settings_.provider || file.engine->context.empty()) continue;
        const bool unasked = file.precision == "fp16" || file.precision == "fp32";
        if (settings_.precision.empty() ? !unasked : file.precision != settings_.precision) continue;
        if (file.role != role || rows_of(file) > FRCRN_MAX_BATCH) continue;
        if (streams > 0 && rows_of(file) != streams) continue;
        if (best == nullptr || rank(file) < rank(*best)) best = &file;
    }
    return best;
}

const File &Model::require_core() const {
    if (core_ != nullptr) return *core_;
    throw Error(FRCRN_UNSUPPORTED,
                bundle_.path() + ": no core in " + precision() + " in this bundle; " + make_command(false));
}

const File &Model::require_streaming_core(size_t streams) const {
    if (streaming_ == nullptr)
        throw Error(FRCRN_UNSUPPORTED, bundle_.path() + ": no streaming core in " + precision() + " in this bundle; " +
                                           make_command(true));
    if (!streaming_->engine) return *streaming_;
    if (const File *engine = choose_engine("core_streaming", streams)) return *engine;
    throw Error(FRCRN_UNSUPPORTED, bundle_.path() + ": no " + settings_.provider + " engine for " +
                                       std::to_string(streams) +
                                       " streams in this bundle; build one: " + build_command(*streaming_, streams));
}

// What makes the file that is missing.
std::string Model::make_command(bool streaming) const {
    const std::string found = precision(), form = streaming ? " --streaming" : "";
    if (found == "int8" || found == "fp8") {
        const bool for_processors = on_processor() && found == "int8";
        return "make one: frcrn-export calibrate " + quoted(bundle_.path()) + " --for " +
               (for_processors ? "cpu" : "rtx4090d") + (found == "fp8" ? " --fp8" : "") + " --calib FOLDER" + form;
    }
    return "export one: frcrn-export onnx" + form + (found == "fp16" ? " --fp16" : "") +
           " -o NEW_BUNDLE (a pack has what it was packed for: frcrn-export pack)";
}

std::string Model::build_command(const File &engine, size_t streams) const {
    const std::string command = "frcrn-export trt " + quoted(bundle_.path()) + " --" + engine.precision +
                                " --backend " + engine.engine->backend + " --gpu " + quoted(engine.engine->gpu);
    return engine.streaming ? command + " --streaming --batch " + std::to_string(streams) : command;
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
        options.optimized = !file.engine;
        session = std::make_shared<Session>(ort_, path_to_open(file), options);
    }
    return session;
}

std::string Model::path_to_open(const File &file) const {
    if (file.engine) return path_of_context(file);
    std::string path = bundle_.checked(file);
    if (const std::string foreign = foreign_part(path); !foreign.empty())
        throw Error(FRCRN_BUNDLE, path + ": it holds " + foreign + "; export the bundle again");
    return path;
}

// The provider finds the engine beside the context file, by the name in it.
std::string Model::path_of_context(const File &engine) const {
    const std::filesystem::path beside = bundle_.checked(engine);
    const std::string name = beside.filename().string();
    const auto refused = [&](const std::string &why) {
        return Error(FRCRN_BUNDLE, bundle_.path() + "/" + engine.engine->context + ": " + why +
                                       "; build the engine again: " + build_command(engine, rows_of(engine)) +
                                       " --force");
    };
    const File *context = manifest_.file(engine.engine->context);
    if (context == nullptr || context->role != "context") throw refused("no EPContext file of the manifest");
    const std::string path = bundle_.checked(*context);
    if (std::filesystem::path(path).parent_path() != beside.parent_path())
        throw refused("not in the folder of its engine " + shown(engine.path));
    // For such a name the provider of TensorRT opens another file.
    if (name.find(".stripped.") != std::string::npos)
        throw refused("its engine " + shown(name) + " is named as one without weights");
    if (const std::string foreign = foreign_part_of_context(path, name); !foreign.empty())
        throw refused("it holds " + foreign);
    return path;
}

}  // namespace frcrn
