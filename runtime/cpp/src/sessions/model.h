// A bundle opened to run: which file, in which session. Immutable for its users; threads share it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "bundle/bundle.h"
#include "sessions/session.h"

namespace frcrn {

struct ModelSettings {
    std::string precision;  // "" is what runs unasked: of engines fp16 before fp32, of ONNX files fp32
    std::string provider = "cpu", provider_library;
    int threads = 0, stream_threads = 0;
    int high_pass = -1;  // as the bundle says, off, on
};

class Model {
public:
    // Raises Error.
    Model(Bundle bundle, std::shared_ptr<const OnnxRuntime> ort, const ModelSettings &settings);

    const Bundle &bundle() const { return bundle_; }
    // With the filter that the settings ask for.
    const Manifest &manifest() const { return manifest_; }
    const OnnxRuntime &ort() const { return *ort_; }
    bool on_processor() const { return settings_.provider == "cpu"; }

    // The files that recordings and streams take; NULL where there is none. Engines for streams have
    // fixed rows: this is one of the fewest.
    const File *core() const { return core_; }
    const File *long_core() const { return long_; }
    const File *streaming_core() const { return streaming_; }
    // The same, for this number of streams; or Error(FRCRN_UNSUPPORTED) with the command that makes it.
    const File &require_core() const;
    const File &require_streaming_core(size_t streams) const;
    // The command that builds such an engine with the usual sizes; of a streaming core for `streams`.
    std::string make_command(bool streaming) const;
    std::string build_command(const File &engine, size_t streams = 1) const;

    // The session of a file, opened once, after its hash was checked; of an engine through its EPContext
    // file. Raises Error.
    std::shared_ptr<const Session> session(const File &file, bool for_streams) const;

private:
    const File *choose(const std::string &role) const;
    // The engine of the provider, the first by the order of docs/bundle.md; NULL without one.
    const File *choose_engine(const std::string &role, size_t streams = 0) const;
    std::string precision() const { return settings_.precision.empty() ? "fp32" : settings_.precision; }
    std::string path_to_open(const File &file) const;
    std::string path_of_context(const File &engine) const;

    Bundle bundle_;
    Manifest manifest_;
    std::shared_ptr<const OnnxRuntime> ort_;
    ModelSettings settings_;
    const File *core_, *long_, *streaming_;
    mutable std::mutex opening_;
    mutable std::map<std::pair<std::string, bool>, std::shared_ptr<const Session>> sessions_;
};

}  // namespace frcrn
