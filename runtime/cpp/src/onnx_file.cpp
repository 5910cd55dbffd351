#include "onnx_file.h"

#include <cstdint>
#include <string_view>
#include <vector>

#include "error.h"
#include "mapped_file.h"

// ONNX is protobuf; only the fields that lead to nodes and tensors are read. Refused are nodes that can
// run for ever, compiled code, and data outside the file, which the manifest's hash does not cover.

namespace frcrn {
namespace {

constexpr int kMostNodes = 100'000, kMostDepth = 64;
constexpr size_t kMostBytes = (size_t{1} << 31) - 1;

// Field numbers of onnx.proto.
constexpr uint64_t kModelGraph = 7, kModelFunctions = 25;
constexpr uint64_t kGraphNode = 1, kGraphTensor = 5, kGraphSparse = 15;
constexpr uint64_t kNodeOperator = 4, kNodeAttribute = 5;
constexpr uint64_t kTensorExternal = 13;

struct Foreign {
    std::string what;
};

using Bytes = std::string_view;

// The fields of a message, one after another: number and content, empty unless length-delimited.
class Fields {
public:
    explicit Fields(Bytes message) : message_(message) {}

    bool next() {
        if (position_ >= message_.size()) return false;
        const uint64_t key = varint();
        if (key > UINT32_MAX) throw Error(FRCRN_BUNDLE, "not an ONNX file");
        size_t bytes = 0;
        switch (key & 7) {
            case 0: varint(); break;
            case 1: skip(8); break;
            case 2: {
                const uint64_t length = varint();
                if (length > message_.size() - position_) throw Error(FRCRN_BUNDLE, "truncated");
                bytes = static_cast<size_t>(length);
                break;
            }
            case 5: skip(4); break;
            default: throw Error(FRCRN_BUNDLE, "not an ONNX file");
        }
        number = key >> 3;
        value = message_.substr(position_, bytes);
        position_ += bytes;
        return true;
    }

    uint64_t number = 0;
    Bytes value;

private:
    void skip(size_t bytes) {
        if (bytes > message_.size() - position_) throw Error(FRCRN_BUNDLE, "truncated");
        position_ += bytes;
    }

    uint64_t varint() {
        uint64_t read = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            if (position_ >= message_.size()) break;
            const auto byte = static_cast<uint8_t>(message_[position_++]);
            if (shift == 63 && byte > 1) throw Error(FRCRN_BUNDLE, "not an ONNX file");
            read |= static_cast<uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80) return read;
        }
        throw Error(FRCRN_BUNDLE, "truncated");
    }

    Bytes message_;
    size_t position_ = 0;
};

class Check {
public:
    explicit Check(bool compiled_allowed) : compiled_allowed_(compiled_allowed) {}

    void graph(Bytes message, bool in_scan, int depth) {
        if (depth > kMostDepth) throw Foreign{"graphs that are nested too deeply"};
        for (Fields field(message); field.next();) {
            if (field.number == kGraphNode) node(field.value, in_scan, depth);
            if (field.number == kGraphTensor) tensor(field.value);
            if (field.number == kGraphSparse) sparse(field.value);
        }
    }

private:
    void node(Bytes message, bool in_scan, int depth) {
        if (++nodes_ > kMostNodes) throw Foreign{"more than " + std::to_string(kMostNodes) + " nodes"};
        std::string_view name;
        std::vector<Bytes> graphs;
        for (Fields field(message); field.next();) {
            if (field.number == kNodeOperator) name = field.value;
            if (field.number != kNodeAttribute) continue;
            for (Fields part(field.value); part.next();) {
                if (part.number == 6 || part.number == 11) graphs.push_back(part.value);
                if (part.number == 5 || part.number == 10) tensor(part.value);
                if (part.number == 22 || part.number == 23) sparse(part.value);
            }
        }
        if (name == "EPContext" && !compiled_allowed_)
            throw Foreign{"a node EPContext, which is compiled code"};
        // A Scan takes as many steps as its input has rows; nested Scans take the product.
        if (!graphs.empty() && name != "If" && (name != "Scan" || in_scan))
            throw Foreign{"a node " + shown(std::string(name)) + (in_scan ? " in a Scan" : "") +
                          ", which may never end"};
        for (const Bytes inner : graphs) graph(inner, in_scan || name == "Scan", depth + 1);
    }

    static void tensor(Bytes message) {
        for (Fields field(message); field.next();)
            if (field.number == kTensorExternal) throw Foreign{"weights that lie in another file"};
    }

    static void sparse(Bytes message) {
        for (Fields field(message); field.next();)
            if (field.number == 1 || field.number == 2) tensor(field.value);
    }

    bool compiled_allowed_;
    int nodes_ = 0;
};

}  // namespace

std::string foreign_part(const std::string &path, bool compiled_allowed) {
    const MappedFile file(path);
    if (file.size() > kMostBytes) throw Error(FRCRN_BUNDLE, path + ": larger than 2 GB");
    const Bytes model(reinterpret_cast<const char *>(file.data()), file.size());
    Check check(compiled_allowed);
    try {
        for (Fields field(model); field.next();) {
            if (field.number == kModelFunctions) return "functions of its own";
            if (field.number == kModelGraph) check.graph(field.value, false, 0);
        }
    } catch (const Foreign &found) {
        return found.what;
    } catch (const Error &error) {
        throw Error(FRCRN_BUNDLE, path + ": not an ONNX file (" + error.what() + ")");
    }
    return "";
}

}  // namespace frcrn
