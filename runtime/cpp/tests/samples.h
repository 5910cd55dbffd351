// Files for tests: small ones that are right, built from their parts, so that a test can spoil a part.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace frcrn::samples {

// Little-endian.
std::string little(uint64_t value, int bytes);

// A file with this content as long as the object lives.
class File {
public:
    explicit File(const std::string &content);
    ~File();
    File(const File &) = delete;
    File &operator=(const File &) = delete;

    const std::string &path() const { return path_; }

private:
    std::string path_;
};

// The manifest of a spectrum model with a core, a streaming core and an engine.
std::string manifest();

// One array of float32: its header as NumPy writes it, and its values.
std::string npy(const std::string &shape, const std::vector<float> &values);
std::string npy_of(const std::string &header, const std::string &bytes);

// A zip archive of stored members, names and contents.
using Members = std::vector<std::pair<std::string, std::string>>;
std::string zip(const Members &members);

// Protobuf: a field of bytes, and parts of an ONNX file.
std::string field(uint64_t number, const std::string &bytes);
std::string node(const std::string &operation, const std::string &attributes = "");
std::string attribute_graph(const std::string &graph);
std::string graph(const std::vector<std::string> &nodes);
std::string onnx(const std::string &graph);

}  // namespace frcrn::samples
