#include "bundle/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace frcrn {

MappedFile::MappedFile(const std::string &path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw Error(FRCRN_BUNDLE, path + ": cannot be read (" + std::strerror(errno) + ")");
    struct stat about{};
    void *mapped = MAP_FAILED;
    if (::fstat(file, &about) == 0 && S_ISREG(about.st_mode)) {
        size_ = static_cast<size_t>(about.st_size);
        if (size_ > 0) mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    ::close(file);
    if (size_ > 0 && mapped == MAP_FAILED) throw Error(FRCRN_BUNDLE, path + ": cannot be mapped");
    data_ = size_ > 0 ? static_cast<const uint8_t *>(mapped) : nullptr;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<uint8_t *>(data_), size_);
}

}  // namespace frcrn
