#include "bundle/onnx_file.h"

#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

#include "bundle/mapped_file.h"
#include "error.h"

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
constexpr uint64_t kAttributeName = 1, kAttributeInteger = 3, kAttributeText = 4, kAttributeType = 20;

// Of a node EPContext. `onnx_model_filename`, which names a file to take weights from, is none of them.
const std::set<std::string> kContextAttributes = {"main_context",   "embed_mode",     "ep_cache_context",     "source",
                                                  "partition_name", "ep_sdk_version", "hardware_architecture"};

struct Foreign {
    std::string what;
};

using Bytes = std::string_view;

// The fields of a message, one after another: number and content, empty unless length-delimited; `integer`
// is the value of a varint.
class Fields {
public:
    explicit Fields(Bytes message) : message_(message) {}

    bool next() {
        if (position_ >= message_.size()) return false;
        const uint64_t key = varint();
        integer = 0;
        if (key > UINT32_MAX) throw Error(FRCRN_BUNDLE, "not an ONNX file");
        size_t bytes = 0;
        switch (key & 7) {
            case 0: integer = varint(); break;
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

    uint64_t number = 0, integer = 0;
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
        if (name == "EPContext") throw Foreign{"a node EPContext, which is compiled code"};
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

    int nodes_ = 0;
};

// The one node of an EPContext file. A parser takes the last of a field that comes twice, and other readers
// may take the first: no field of a name or a value comes twice.
class ContextCheck {
public:
    explicit ContextCheck(const std::string &engine) : engine_(engine) {}

    void graph(Bytes message) {
        for (Fields field(message); field.next();) {
            if (field.number == kGraphNode) node(field.value);
            if (field.number == kGraphTensor || field.number == kGraphSparse) throw Foreign{"weights"};
        }
    }

    // What is missing once all was seen, or "".
    std::string problem() const {
        if (nodes_ == 0) return "no node";
        if (seen_.count("ep_cache_context") == 0 || seen_.count("embed_mode") == 0)
            return "a node without `ep_cache_context` or `embed_mode`";
        return "";
    }

private:
    void node(Bytes message) {
        if (++nodes_ > 1) throw Foreign{"more than one node"};
        int names = 0;
        for (Fields field(message); field.next();) {
            if (field.number == kNodeOperator) {
                ++names;
                if (field.value != "EPContext") throw Foreign{"a node " + shown(std::string(field.value))};
            }
            if (field.number == kNodeAttribute) attribute(field.value);
        }
        if (names != 1) throw Foreign{"a node with no operator, or several"};
    }

    void attribute(Bytes message) {
        std::string name, text;
        uint64_t integer = 0;
        std::set<uint64_t> fields;
        for (Fields field(message); field.next();) {
            const bool once = fields.insert(field.number).second;
            switch (field.number) {
                case kAttributeName: name = field.value; break;
                case kAttributeInteger: integer = field.integer; break;
                case kAttributeText: text = field.value; break;
                case kAttributeType: break;
                default: throw Foreign{"an attribute that is no number and no text"};
            }
            if (!once) throw Foreign{"an attribute with two values"};
        }
        if (!seen_.insert(name).second) throw Foreign{"an attribute " + shown(name) + " twice"};
        if (kContextAttributes.count(name) == 0) throw Foreign{"an attribute " + shown(name)};
        if (name == "embed_mode" && integer != 0) throw Foreign{"an engine of its own (embed_mode)"};
        if (name == "ep_cache_context" && text != engine_)
            throw Foreign{"the name of another file, " + shown(text) + " instead of " + shown(engine_)};
    }

    const std::string &engine_;
    int nodes_ = 0;
    std::set<std::string> seen_;
};

// What is foreign in a file, or "". `visit` looks at each graph.
template <typename Visit>
std::string found_in(const std::string &path, Visit &&visit) {
    const MappedFile file(path);
    if (file.size() > kMostBytes) throw Error(FRCRN_BUNDLE, path + ": larger than 2 GB");
    try {
        for (Fields field({reinterpret_cast<const char *>(file.data()), file.size()}); field.next();) {
            if (field.number == kModelFunctions) return "functions of its own";
            if (field.number == kModelGraph) visit(field.value);
        }
    } catch (const Foreign &found) {
        return found.what;
    } catch (const Error &error) {
        throw Error(FRCRN_BUNDLE, path + ": not an ONNX file (" + error.what() + ")");
    }
    return "";
}

}  // namespace

std::string foreign_part(const std::string &path) {
    Check check;
    return found_in(path, [&](Bytes graph) { check.graph(graph, false, 0); });
}

std::string foreign_part_of_context(const std::string &path, const std::string &engine) {
    ContextCheck check(engine);
    const std::string found = found_in(path, [&](Bytes graph) { check.graph(graph); });
    return found.empty() ? check.problem() : found;
}

}  // namespace frcrn
