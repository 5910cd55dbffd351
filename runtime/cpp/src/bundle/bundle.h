// A bundle on disk: its manifest, and its files once they match it.
#pragma once

#include <string>

#include "bundle/manifest.h"

namespace frcrn {

class Bundle {
public:
    // Reads the manifest; every listed file must be there, in its size, inside the folder.
    // Raises Error(FRCRN_BUNDLE).
    explicit Bundle(const std::string &path);

    const std::string &path() const { return path_; }
    const Manifest &manifest() const { return manifest_; }

    // The path of a file whose hash is the manifest's. Raises Error(FRCRN_BUNDLE).
    std::string checked(const File &file) const;

private:
    std::string place(const File &file) const;

    std::string path_;
    Manifest manifest_;
};

}  // namespace frcrn
