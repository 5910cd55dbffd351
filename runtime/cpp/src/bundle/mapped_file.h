// A file's bytes, read-only, without copying them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace frcrn {

class MappedFile {
public:
    // Raises Error(FRCRN_BUNDLE) where it cannot be read.
    explicit MappedFile(const std::string &path);
    ~MappedFile();
    MappedFile(const MappedFile &) = delete;
    MappedFile &operator=(const MappedFile &) = delete;

    const uint8_t *data() const { return data_; }
    size_t size() const { return size_; }

private:
    const uint8_t *data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace frcrn
