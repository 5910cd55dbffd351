#include "bundle/manifest.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>

#include <nlohmann/json.hpp>

#include "error.h"

namespace frcrn {
namespace {

using Json = nlohmann::json;

constexpr int64_t kSchema = 2;
constexpr int64_t kMost31 = (int64_t{1} << 31) - 1;
constexpr int64_t kMostLength = int64_t{1} << 21;
constexpr int64_t kMostRowValues = int64_t{1} << 25;
constexpr int64_t kMostOverlap = 64, kMostLookaheadCalls = 4096;
constexpr size_t kMostFiles = 1024, kMostStates = 4096, kMostTensors = 8, kMostAxes = 8;
constexpr size_t kMostText = 255, kMostLongText = 4000;
// The reader of JSON: a manifest nests 8 deep, and its longest list has 16,384 entries of 6 values.
constexpr int kMostDepth = 16;
constexpr int kMostValues = 1 << 20;

// A value of the manifest and where it stands, for errors: `files[3].streaming.chunk`.
class Field {
public:
    Field(const Json &value, std::string path) : value_(value), path_(std::move(path)) {}

    [[noreturn]] void refuse(const std::string &why) const { throw Error(FRCRN_BUNDLE, "`" + path_ + "` " + why); }

    bool has(const char *name) const {
        if (!value_.is_object()) refuse("must be an object");
        const auto found = value_.find(name);
        return found != value_.end() && !found->is_null();
    }

    Field operator[](const char *name) const {
        const std::string path = path_.empty() ? name : path_ + "." + name;
        if (!value_.is_object()) refuse("must be an object");
        const auto found = value_.find(name);
        if (found == value_.end()) throw Error(FRCRN_BUNDLE, "`" + path + "` is missing");
        return {*found, path};
    }

    std::vector<Field> list(size_t most) const {
        if (!value_.is_array()) refuse("must be a list");
        if (value_.size() > most)
            refuse("has " + std::to_string(value_.size()) + " entries, at most " + std::to_string(most) + " are taken");
        std::vector<Field> fields;
        for (size_t i = 0; i < value_.size(); ++i)
            fields.emplace_back(value_[i], path_ + "[" + std::to_string(i) + "]");
        return fields;
    }

    int64_t integer(int64_t least, int64_t most) const {
        if (!value_.is_number_integer())
            refuse(value_.is_number() ? "is " + value_.dump() + ", it must be a whole number"
                                      : "must be a whole number");
        const bool beyond = value_.is_number_unsigned() && value_.get<uint64_t>() > INT64_MAX;
        const int64_t number = beyond ? INT64_MAX : value_.get<int64_t>();
        if (beyond || number < least || number > most)
            refuse("is " + value_.dump() + ", it must be " + std::to_string(least) + " to " + std::to_string(most));
        return number;
    }

    double real(double least, double most) const {
        if (!value_.is_number()) refuse("must be a number");
        const double number = value_.get<double>();
        if (!(number >= least && number <= most))
            refuse("is " + frcrn::number(number) + ", it must be " + frcrn::number(least) + " to " +
                   frcrn::number(most));
        return number;
    }

    bool boolean() const {
        if (!value_.is_boolean()) refuse("must be true or false");
        return value_.get<bool>();
    }

    std::string text(size_t most = kMostText) const {
        if (!value_.is_string()) refuse("must be text");
        auto string = value_.get<std::string>();
        size_t characters = 0;
        for (const char c : string) characters += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
        if (characters > most) refuse("is longer than " + std::to_string(most) + " characters");
        if (string.find('\0') != std::string::npos) refuse("holds a null character");
        return string;
    }

    std::string one_of(std::initializer_list<const char *> names) const {
        const std::string found = text();
        std::string all;
        for (const char *name : names) {
            if (found == name) return found;
            all += std::string(all.empty() ? "" : ", ") + name;
        }
        refuse("is " + shown(found) + ", it must be one of: " + all);
    }

    bool is_text() const { return value_.is_string(); }

private:
    const Json &value_;
    std::string path_;
};

Json read_json(const std::string &text) {
    int values = 0;
    const auto bounded = [&values](int depth, Json::parse_event_t, Json &) {
        if (depth > kMostDepth) throw Error(FRCRN_BUNDLE, "JSON that is nested too deeply");
        if (++values > kMostValues) throw Error(FRCRN_BUNDLE, "JSON of too many values");
        return true;
    };
    try {
        // The parser would take a null byte for the end, and leave the rest unread.
        if (text.find('\0') == std::string::npos) return Json::parse(text, bounded);
    } catch (const Json::exception &) {
    }
    throw Error(FRCRN_BUNDLE, "not JSON in UTF-8");
}

StftSpec read_stft(const Field &field) {
    constexpr int64_t most = 1 << 16;
    StftSpec stft;
    stft.window_length = field["window_length"].integer(1, most);
    stft.hop_length = field["hop_length"].integer(1, most);
    stft.fft_length = field["fft_length"].integer(1, most);
    if (field.has("window")) stft.window = field["window"].one_of({"hann", "sqrt_hann", "hamming"});
    stft.synthesis_window = stft.window;
    if (field.has("synthesis_window"))
        stft.synthesis_window = field["synthesis_window"].one_of({"hann", "sqrt_hann", "hamming"});
    if (field.has("center")) stft.center = field["center"].boolean();
    if (field.has("pad_mode")) stft.pad_mode = field["pad_mode"].one_of({"reflect", "zeros"});
    if (stft.hop_length > stft.window_length || stft.window_length > stft.fft_length)
        field.refuse("needs hop_length <= window_length <= fft_length");
    if (stft.fft_length > kMostOverlap * stft.hop_length)
        field.refuse("has an fft_length of more than " + std::to_string(kMostOverlap) + " times the hop_length");
    if (stft.window_length % 2 != 0 || stft.fft_length % 2 != 0)
        field.refuse("needs an even window_length and fft_length");
    return stft;
}

std::vector<Tensor> read_tensors(const Field &field) {
    std::vector<Tensor> tensors;
    for (const Field &entry : field.list(kMostTensors)) {
        Tensor tensor;
        tensor.name = entry["name"].text();
        tensor.dtype = entry["dtype"].text();
        for (const Field &size : entry["shape"].list(kMostAxes))
            tensor.shape.push_back(size.is_text() ? (size.text(), -1) : size.integer(1, kMost31));
        tensors.push_back(tensor);
    }
    return tensors;
}

Streaming read_streaming(const Field &field) {
    Streaming streaming;
    streaming.chunk = field["chunk"].integer(1, kMostLength);
    streaming.lookahead = field["lookahead"].integer(0, kMostLength);
    if (field.has("end")) streaming.end = field["end"].text();
    if (streaming.lookahead > kMostLookaheadCalls * streaming.chunk)
        field.refuse("has a lookahead of more than " + std::to_string(kMostLookaheadCalls) + " calls");
    std::set<std::string> names;
    for (const Field &entry : field["states"].list(kMostStates)) {
        State state;
        state.name = entry["name"].text();
        state.next = entry["next"].text();
        if (!names.insert(state.name).second || !names.insert(state.next).second)
            entry.refuse("shares a name with another state");
        const std::vector<Field> shape = entry["shape"].list(kMostAxes);
        if (shape.empty() || !shape[0].is_text() || shape[0].text() != "batch")
            entry.refuse("must have the batch as its first axis");
        for (size_t axis = 1; axis < shape.size(); ++axis) state.row_shape.push_back(shape[axis].integer(1, kMost31));
        if (entry.has("dtype")) state.dtype = entry["dtype"].one_of({"float32", "uint8"});
        if (entry.has("initial")) state.initial = entry["initial"].real(-3.4028234663852886e38, 3.4028234663852886e38);
        if (state.dtype == "uint8" &&
            !(state.initial >= 0 && state.initial <= 255 && state.initial == std::floor(state.initial)))
            entry.refuse("cannot begin with " + number(state.initial) + " as uint8, 0 to 255");
        streaming.states.push_back(state);
    }
    return streaming;
}

Engine read_engine(const Field &field) {
    Engine engine;
    engine.backend = field["backend"].one_of({"tensorrt", "tensorrt-rtx"});
    engine.source = field["source"].text();
    engine.gpu = field["gpu"].text();
    if (field.has("context")) engine.context = field["context"].text();
    for (auto [name, shape] : {std::pair{"min", &engine.least}, {"max", &engine.most}})
        for (const Field &size : field["profile"][name].list(kMostAxes)) shape->push_back(size.integer(1, kMost31));
    if (engine.most.empty() || engine.least.size() != engine.most.size())
        field.refuse("has a profile whose shapes have no axes, or not the same");
    if (field.has("hardware_compatible")) engine.hardware_compatible = field["hardware_compatible"].boolean();
    for (const Field &sm : field["sms"].list(32)) engine.sms.push_back(sm.integer(1, 999));
    return engine;
}

// Whether a path is relative and cannot leave the bundle; "" if so, else why not.
std::string path_problem(const std::string &path) {
    if (path.empty() || path == "manifest.json") return "is no file of a bundle";
    if (path[0] == '/' || path.find_first_of("\\:") != std::string::npos) return "leaves the bundle";
    size_t start = 0;
    bool any = false;
    while (start <= path.size()) {
        const size_t stop = std::min(path.find('/', start), path.size());
        const std::string part = path.substr(start, stop - start);
        if (part == "..") return "leaves the bundle";
        any |= !part.empty() && part != ".";
        start = stop + 1;
    }
    if (!any) return "is no file of a bundle";
    for (const char c : path)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "is not printable";
    return "";
}

double floor_of(const std::string &precision) { return precision == "fp32" ? 90.0 : precision == "fp16" ? 45.0 : 20.0; }

bool product_fits(const std::vector<int64_t> &shape, int64_t &sum) {
    int64_t values = 1;
    for (const int64_t size : shape) {
        if (size > 0 && values > kMostRowValues / size) return false;
        values *= size > 0 ? size : 1;
    }
    sum += values;
    return sum <= kMostRowValues;
}

void check_sizes(const Field &field, const File &file) {
    int64_t sum = 0;
    bool fits = true;
    for (const auto *tensors : {&file.inputs, &file.outputs})
        for (const Tensor &tensor : *tensors)
            fits = fits && product_fits({tensor.shape.begin() + !tensor.shape.empty(), tensor.shape.end()}, sum);
    if (file.streaming)
        for (const State &state : file.streaming->states)
            fits = fits && product_fits(state.row_shape, sum) && product_fits(state.row_shape, sum);
    if (!fits) field.refuse("has more than " + std::to_string(kMostRowValues) + " values in the tensors of one row");
}

File read_file(const Field &field) {
    File file;
    file.path = field["path"].text();
    if (const std::string problem = path_problem(file.path); !problem.empty())
        field["path"].refuse(problem + " (" + shown(file.path) + "); refusing to open it");
    file.role = field["role"].one_of({"core", "core_long", "core_static", "core_streaming", "pre", "post", "pipeline",
                                      "parity", "layers", "context", "report"});
    file.format = field["format"].text();
    file.precision = field["precision"].one_of({"fp32", "fp16", "int8", "fp8"});
    file.sha256 = field["sha256"].text();
    if (file.sha256.size() != 64 || file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
        field["sha256"].refuse("must be 64 hex digits");
    file.bytes = field["bytes"].integer(0, int64_t{1} << 40);
    if (field.has("inputs")) file.inputs = read_tensors(field["inputs"]);
    if (field.has("outputs")) file.outputs = read_tensors(field["outputs"]);
    if (field.has("above_frames")) file.above_frames = field["above_frames"].integer(0, kMost31);
    if (field.has("input_limit")) {
        file.input_limit = field["input_limit"].real(0, 3.4028234663852886e38);
        if (!(file.input_limit > 0)) field["input_limit"].refuse("must be above 0");
    }
    if (field.has("min_onnxruntime")) file.min_onnxruntime = field["min_onnxruntime"].text();
    file.floor_db = field.has("floor_db") ? field["floor_db"].real(10, 90) : floor_of(file.precision);
    if (field.has("quantization")) file.target = field["quantization"]["target"].one_of({"tensorrt", "cpu"});
    if (field.has("engine")) file.engine = read_engine(field["engine"]);
    if (field.has("streaming")) file.streaming = read_streaming(field["streaming"]);
    if ((file.format == "engine") != file.engine.has_value())
        field.refuse("must have `engine` if it is an engine, and only then");
    if ((file.role == "core_streaming") != file.streaming.has_value())
        field.refuse("must have `streaming` if it is a streaming core, and only then");
    if (file.streaming && (file.inputs.size() != 1 || file.outputs.empty() || file.inputs[0].shape.empty() ||
                           file.inputs[0].shape.back() != file.streaming->chunk))
        field.refuse("has `inputs` and a `chunk` that contradict each other");
    check_sizes(field, file);
    return file;
}

void check_stft(const Field &field, const StftSpec &stft, int64_t shortest, int64_t longest) {
    if (2 * stft.bins() * stft.frames(longest) > kMostRowValues)
        field.refuse("gives too many values for a window of `padding` or `segments`");
    if (shortest < stft.shortest()) field.refuse("has a window that `padding` and `segments` do not hold");
}

Manifest read_manifest(const Field &root) {
    Manifest manifest;
    const int64_t schema = root["schema"].integer(1, kMost31);
    if (schema > kSchema)
        throw Error(FRCRN_BUNDLE, "schema " + std::to_string(schema) + " is later than this library's " +
                                      std::to_string(kSchema) + "; take a later libfrcrn");
    if (schema < kSchema)
        throw Error(FRCRN_BUNDLE, "schema " + std::to_string(schema) + ", this library reads " +
                                      std::to_string(kSchema) +
                                      "; export the bundle again: frcrn-export onnx -o NEW_BUNDLE");
    manifest.model = root["model"].text();
    manifest.domain = root["domain"].one_of({"spectrum", "waveform"});
    manifest.level = root["level"].one_of({"active_rms", "peak", "none"});
    manifest.sample_rate = root["sample_rate"].integer(1000, 768000);
    const Field weights = root["weights"];
    manifest.random_weights = weights["source"].one_of({"checkpoint", "default", "random", "built"}) == "random";
    if (weights.has("licence")) manifest.licence = weights["licence"].text();
    if (weights.has("attribution")) manifest.attribution = weights["attribution"].text(kMostLongText);

    const Field padding = root["padding"];
    manifest.padding.rule = padding["rule"].one_of({"multiple", "hops", "windows"});
    manifest.padding.size = padding["size"].integer(1, kMostLength);
    if (padding.has("stride")) manifest.padding.stride = padding["stride"].integer(1, kMostLength);
    const Field segments = root["segments"];
    manifest.segments.length = segments["length"].integer(1, kMostLength);
    manifest.segments.left = segments["left"].integer(0, kMostLength);
    manifest.segments.right = segments["right"].integer(0, kMostLength);
    manifest.segments.above = segments["above"].integer(0, kMost31);
    if (manifest.segments.stride() < 1) segments.refuse("drops at least as much as a window holds");
    if (manifest.segments.length > kMostOverlap * manifest.segments.stride())
        segments.refuse("overlaps more than " + std::to_string(kMostOverlap) + " windows");

    if (root.has("stft")) manifest.stft = read_stft(root["stft"]);
    if ((manifest.domain == "spectrum") != manifest.stft.has_value())
        throw Error(FRCRN_BUNDLE, "`stft` and the domain " + manifest.domain + " contradict each other");
    if (manifest.stft)
        check_stft(root["stft"], *manifest.stft, std::min(manifest.padding.size, manifest.segments.length),
                   std::max(manifest.padding.size, manifest.segments.length));
    if (root.has("high_pass")) {
        const Field high_pass = root["high_pass"];
        HighPass filter;
        for (auto [name, cutoff] : {std::pair<const char *, double *>{"cutoff_hz", &filter.cutoff_hz},
                                    {"streaming_cutoff_hz", &filter.streaming_cutoff_hz}})
            if (high_pass.has(name)) {
                *cutoff = high_pass[name].real(0, 200);
                if (!(*cutoff > 0)) high_pass[name].refuse("must be above 0");
            }
        manifest.high_pass = filter;
    }
    std::set<std::string> paths;
    for (const Field &field : root["files"].list(kMostFiles)) {
        manifest.files.push_back(read_file(field));
        if (!paths.insert(manifest.files.back().path).second) field.refuse("is listed twice");
    }
    return manifest;
}

}  // namespace

int64_t Padding::samples(int64_t given) const {
    if (rule == "multiple") return (size - given % size) % size;
    if (rule == "hops") {
        if (given <= size) return size - given;
        return (stride - (given - size) % stride) % stride;
    }
    if (given < size) return size - given;
    if (given < size + stride) return size + stride - given;
    const int64_t rest = (given - size) % stride;
    return rest != 0 ? size + rest : 0;
}

int64_t Tensor::row_values() const {
    int64_t values = 1;
    for (size_t axis = 1; axis < shape.size(); ++axis) values *= shape[axis] > 0 ? shape[axis] : 1;
    return values;
}

int64_t State::row_values() const {
    int64_t values = 1;
    for (const int64_t size : row_shape) values *= size;
    return values;
}

bool Engine::takes(const std::vector<int64_t> &shape) const {
    if (shape.size() != least.size()) return false;
    for (size_t axis = 0; axis < shape.size(); ++axis)
        if (shape[axis] < least[axis] || shape[axis] > most[axis]) return false;
    return true;
}

const File *Manifest::file(const std::string &path) const {
    for (const File &file : files)
        if (file.path == path) return &file;
    return nullptr;
}

const File *Manifest::file(const std::string &role, const std::string &format, const std::string &precision,
                           const std::string &target) const {
    for (const File &file : files)
        if (file.role == role && file.format == format && file.precision == precision && file.target == target)
            return &file;
    return nullptr;
}

Manifest parse_manifest(const std::string &text, const std::string &source) {
    try {
        const Json json = read_json(text);
        return read_manifest(Field(json, ""));
    } catch (const Error &error) {
        throw Error(error.status, source + ": " + error.what());
    }
}

}  // namespace frcrn
