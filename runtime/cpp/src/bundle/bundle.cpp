#include "bundle/bundle.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include "bundle/sha256.h"
#include "error.h"

namespace frcrn {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMostManifestBytes = 16 << 20;
constexpr size_t kChunkBytes = 1 << 18;
// Where an unfinished transaction has left files that the manifest counts as committed already.
const char *const kCommitFolder = ".transaction/commit";

std::string read_text(const fs::path &path) {
    std::error_code failed;
    const uintmax_t bytes = fs::file_size(path, failed);
    if (failed) throw Error(FRCRN_BUNDLE, path.string() + ": cannot be read");
    if (bytes > kMostManifestBytes) throw Error(FRCRN_BUNDLE, path.string() + ": too large for a manifest");
    std::ifstream stream(path, std::ios::binary);
    std::string text(bytes, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(bytes));
    if (static_cast<uintmax_t>(stream.gcount()) != bytes) throw Error(FRCRN_BUNDLE, path.string() + ": cannot be read");
    return text;
}

std::string sha256_of(const std::string &path) {
    std::ifstream stream(path, std::ios::binary);
    std::vector<char> chunk(kChunkBytes);
    Sha256 digest;
    while (stream) {
        stream.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
        digest.add(chunk.data(), static_cast<size_t>(stream.gcount()));
    }
    return digest.hex();
}

bool is_inside(const fs::path &path, const fs::path &root) {
    const fs::path whole = fs::canonical(path), base = fs::canonical(root);
    auto part = whole.begin();
    for (const fs::path &expected : base)
        if (part == whole.end() || *part++ != expected) return false;
    return true;
}

// How a file differs from the manifest in place and size; "" if it does not.
std::string problem(const fs::path &root, const fs::path &path, const File &file) {
    std::error_code failed;
    if (!fs::is_regular_file(path, failed)) return "listed in the manifest but missing; copy it again";
    if (!is_inside(path, root)) return "a link that leaves the bundle; refusing to open it";
    const auto bytes = static_cast<int64_t>(fs::file_size(path));
    if (bytes != file.bytes)
        return std::to_string(bytes) + " bytes, the manifest says " + std::to_string(file.bytes) + "; copy it again";
    return "";
}

}  // namespace

Bundle::Bundle(const std::string &path) : path_(path) {
    const fs::path root(path);
    std::error_code failed;
    if (!fs::is_directory(root, failed))
        throw Error(FRCRN_BUNDLE, path + ": no such folder; give the folder of a bundle");
    const fs::path manifest = root / "manifest.json";
    if (!fs::is_regular_file(manifest, failed))
        throw Error(FRCRN_BUNDLE,
                    path + ": no bundle here (no manifest.json); make one: frcrn-export onnx -o " + quoted(path));
    manifest_ = parse_manifest(read_text(manifest), manifest.string());
    try {
        for (const File &file : manifest_.files) place(file);
    } catch (const fs::filesystem_error &error) {
        throw Error(FRCRN_BUNDLE, path + ": " + error.code().message());
    }
}

std::string Bundle::place(const File &file) const {
    const fs::path root(path_);
    const fs::path staged = root / kCommitFolder / file.path;
    if (problem(root, staged, file).empty() && sha256_of(staged.string()) == file.sha256) return staged.string();
    const fs::path path = root / file.path;
    if (const std::string differs = problem(root, path, file); !differs.empty())
        throw Error(FRCRN_BUNDLE, path.string() + ": " + differs);
    return path.string();
}

std::string Bundle::checked(const File &file) const {
    const std::string path = place(file);
    if (sha256_of(path) != file.sha256)
        throw Error(FRCRN_BUNDLE, path + ": its sha256 is not the manifest's: the file was altered; copy it again");
    return path;
}

}  // namespace frcrn
