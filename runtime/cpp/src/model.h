// A bundle opened to run: which file, in which session. Immutable for its users; threads share it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "bundle.h"
#include "session.h"

namespace frcrn {

struct ModelSettings {
    std::string precision = "fp32";
    std::string provider = "cpu", provider_library;
    int threads = 0, stream_threads = 0;
    int high_pass = -1;  // as the bundle says, off, on
};

class Model {
public:
    // Raises Error.
    Model(const std::string &path, std::shared_ptr<const OnnxRuntime> ort, const ModelSettings &settings);

    const Bundle &bundle() const { return bundle_; }
    // With the filter that the settings ask for.
    const Manifest &manifest() const { return manifest_; }
    const OnnxRuntime &ort() const { return *ort_; }
    bool on_processor() const { return settings_.provider == "cpu"; }

    // The files that recordings and streams take; NULL where there is none.
    const File *core() const { return core_; }
    const File *long_core() const { return long_; }
    const File *streaming_core() const { return streaming_; }
    // The same, or Error(FRCRN_UNSUPPORTED) with the command that makes it.
    const File &require_core() const;
    const File &require_streaming_core() const;

    // The session of a file, opened once, after its hash was checked. Raises Error.
    std::shared_ptr<const Session> session(const File &file, bool for_streams) const;

private:
    const File *choose(const std::string &role) const;
    std::string path_to_open(const File &file) const;

    Bundle bundle_;
    Manifest manifest_;
    std::shared_ptr<const OnnxRuntime> ort_;
    ModelSettings settings_;
    const File *core_, *long_, *streaming_;
    mutable std::mutex opening_;
    mutable std::map<std::pair<std::string, bool>, std::shared_ptr<const Session>> sessions_;
};

}  // namespace frcrn
