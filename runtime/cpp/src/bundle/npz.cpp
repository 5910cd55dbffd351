#include "bundle/npz.h"

#include <algorithm>
#include <cstring>

#include "bundle/mapped_file.h"
#include "error.h"

namespace frcrn {
namespace {

constexpr size_t kMostBytes = size_t{256} << 20;
constexpr size_t kMostArrays = 16'384;
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kMostComment = 65'535;
constexpr uint32_t kSizeElsewhere = 0xffffffff;  // zip64

[[noreturn]] void refuse(const std::string &why) { throw Error(FRCRN_BUNDLE, why); }

// A part of the file, whose reads are checked.
class Bytes {
public:
    Bytes(const uint8_t *data, size_t size) : data_(data), size_(size) {}

    size_t size() const { return size_; }
    Bytes part(size_t start, size_t count) const {
        if (start > size_ || count > size_ - start) refuse("truncated");
        return {data_ + start, count};
    }
    const uint8_t *data() const { return data_; }
    std::string text() const { return {reinterpret_cast<const char *>(data_), size_}; }

    // Little-endian.
    uint32_t number(size_t at, size_t bytes) const {
        const Bytes field = part(at, bytes);
        uint32_t value = 0;
        for (size_t i = 0; i < bytes; ++i) value |= static_cast<uint32_t>(field.data_[i]) << (8 * i);
        return value;
    }

private:
    const uint8_t *data_;
    size_t size_;
};

// `'descr': '<f4', 'fortran_order': False, 'shape': (2, 257, 49), `
std::vector<int64_t> read_shape(const std::string &header) {
    if (header.find("'descr': '<f4'") == std::string::npos) refuse("an array that is not float32");
    if (header.find("'fortran_order': False") == std::string::npos) refuse("an array that is stored by columns");
    const size_t begin = header.find("'shape': (");
    const size_t end = begin == std::string::npos ? begin : header.find(')', begin);
    if (end == std::string::npos) refuse("an array without a shape");
    std::vector<int64_t> shape;
    int64_t size = -1;
    for (size_t i = begin + 10; i <= end; ++i) {
        const char c = header[i];
        if (c >= '0' && c <= '9') {
            size = (size < 0 ? 0 : size) * 10 + (c - '0');
            if (size > static_cast<int64_t>(kMostBytes)) refuse("an array that is too large");
        } else if (c == ',' || c == ')') {
            if (size >= 0) shape.push_back(size);
            size = -1;
        } else if (c != ' ') {
            refuse("an array with a shape that is none");
        }
    }
    if (shape.size() > 8) refuse("an array of too many axes");
    return shape;
}

Array read_array(const Bytes &npy) {
    static const char magic[] = "\x93NUMPY";
    if (npy.part(0, 8).text().compare(0, 6, magic, 6) != 0) refuse("a member that is no array");
    const uint32_t version = npy.number(6, 1);
    if (version != 1 && version != 2) refuse("an array of a later version");
    const size_t at = version == 1 ? 10 : 12;
    const size_t header_bytes = npy.number(8, version == 1 ? 2 : 4);
    Array array;
    array.shape = read_shape(npy.part(at, header_bytes).text());
    const Bytes data = npy.part(at + header_bytes, npy.size() - at - header_bytes);
    size_t count = 1;
    for (const int64_t size : array.shape) {
        if (size > 0 && count > kMostBytes / static_cast<size_t>(size)) refuse("an array that is too large");
        count *= static_cast<size_t>(size);
    }
    if (count * sizeof(float) != data.size()) refuse("an array whose shape does not match its bytes");
    array.values.resize(count);
    if (count > 0) std::memcpy(array.values.data(), data.data(), data.size());
    return array;
}

size_t find_end(const Bytes &file) {
    if (file.size() < kEndBytes) refuse("not a zip archive");
    const size_t last = file.size() - kEndBytes;
    const size_t first = last > kMostComment ? last - kMostComment : 0;
    for (size_t at = last + 1; at-- > first;)
        if (file.number(at, 4) == kEnd) return at;
    refuse("not a zip archive");
}

std::map<std::string, Array> read_members(const Bytes &file) {
    const size_t end = find_end(file);
    const size_t count = file.number(end + 10, 2);
    size_t at = file.number(end + 16, 4);
    if (count > kMostArrays) refuse("too many arrays");
    size_t total = 0;
    std::map<std::string, Array> arrays;
    for (size_t i = 0; i < count; ++i) {
        if (file.number(at, 4) != kCentral) refuse("a damaged zip archive");
        const uint32_t method = file.number(at + 10, 2), bytes = file.number(at + 24, 4);
        const size_t name_bytes = file.number(at + 28, 2);
        std::string name = file.part(at + kCentralBytes, name_bytes).text();
        if (method != 0) refuse("compressed; export the bundle again: frcrn-export onnx -o NEW_BUNDLE");
        if (bytes == kSizeElsewhere) refuse("a member of more than 4 GB");
        total += bytes;
        if (total > kMostBytes) refuse("more than 256 MB of arrays");
        const size_t local = file.number(at + 42, 4);
        if (file.number(local, 4) != kLocal) refuse("a damaged zip archive");
        const size_t data = local + kLocalBytes + file.number(local + 26, 2) + file.number(local + 28, 2);
        if (name.size() > 4 && name.compare(name.size() - 4, 4, ".npy") == 0) name.resize(name.size() - 4);
        arrays[name] = read_array(file.part(data, bytes));
        at += kCentralBytes + name_bytes + file.number(at + 30, 2) + file.number(at + 32, 2);
    }
    return arrays;
}

}  // namespace

std::map<std::string, Array> read_npz(const std::string &path) {
    const MappedFile file(path);
    try {
        return read_members({file.data(), file.size()});
    } catch (const Error &error) {
        throw Error(error.status, path + ": not parity vectors (" + error.what() + ")");
    }
}

}  // namespace frcrn
