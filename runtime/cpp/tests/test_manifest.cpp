#include "bundle/manifest.h"

#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "error.h"
#include "samples.h"

using frcrn::Manifest;
using Json = nlohmann::json;

namespace {

Json intact() { return Json::parse(frcrn::samples::manifest()); }

// Why a text is refused, or "" where it is read.
std::string refusal(const std::string &text) {
    try {
        frcrn::parse_manifest(text, "x/manifest.json");
    } catch (const frcrn::Error &error) {
        CHECK(error.status == FRCRN_BUNDLE);
        const std::string said = error.what();
        CHECK(said.rfind("x/manifest.json: ", 0) == 0);
        return said.substr(17);
    }
    return "";
}

std::string refusal(const Json &json) { return refusal(json.dump()); }

// With another value at a place, such as "/files/0/bytes".
std::string refusal_with(const char *place, const Json &value) {
    Json json = intact();
    json[Json::json_pointer(place)] = value;
    return refusal(json);
}

std::string refusal_without(const char *place) {
    const Json removal = Json::array({{{"op", "remove"}, {"path", place}}});
    return refusal(intact().patch(removal));
}

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

// "/files/0/bytes" as errors write it: files[0].bytes.
std::string named(const std::string &place) {
    std::string out;
    for (size_t at = 1; at < place.size();) {
        const size_t stop = std::min(place.find('/', at), place.size());
        const std::string part = place.substr(at, stop - at);
        const bool index = part.find_first_not_of("0123456789") == std::string::npos;
        out += index ? "[" + part + "]" : (out.empty() ? "" : ".") + part;
        at = stop + 1;
    }
    return out;
}

}  // namespace

TEST_CASE("manifest: what is read") {
    const Manifest manifest = frcrn::parse_manifest(frcrn::samples::manifest(), "");
    CHECK(manifest.model == "small");
    CHECK(manifest.licence == "Apache-2.0");
    CHECK(manifest.sample_rate == 16000);
    CHECK(manifest.stft->hop_length == 4);
    CHECK(manifest.stft->synthesis_window == "sqrt_hann");
    CHECK(manifest.segments.stride() == 48);
    CHECK(manifest.files.size() == 3);
    CHECK(manifest.files[0].inputs[0].shape == std::vector<int64_t>{-1, 2, 5, -1});
    CHECK(manifest.files[1].streaming->states[0].row_shape == std::vector<int64_t>{2, 3});
    CHECK(manifest.files[1].floor_db == 90);
    CHECK(manifest.files[2].engine->rows() == 4);
    CHECK(manifest.files[2].engine->gpu == "8.9");
    CHECK(manifest.files[2].engine->takes({2, 2, 5, 99}));
    CHECK_FALSE(manifest.files[2].engine->takes({2, 2, 5, 100}));
    CHECK_FALSE(manifest.files[2].engine->takes({2, 2, 5}));
    CHECK(manifest.file("core.onnx") == &manifest.files[0]);
    CHECK(manifest.file("none") == nullptr);
    CHECK(manifest.file("core", "onnx", "fp32") == &manifest.files[0]);
    CHECK(manifest.file("core", "onnx", "fp16") == nullptr);
    CHECK(manifest.file("core", "engine", "int8", "tensorrt") == &manifest.files[2]);
}

TEST_CASE("manifest: every number has bounds") {
    struct Bound {
        const char *place;
        Json least, most, below, above;
    };
    // No bound of these meets another rule before it is reached.
    const int64_t most31 = 2147483647, length = 1 << 21;
    const std::vector<Bound> bounds = {
        {"/sample_rate", 1000, 768000, 999, 768001},
        {"/padding/stride", 1, length, 0, length + 1},
        {"/segments/above", 0, most31, -1, most31 + 1},
        {"/files/0/bytes", 0, int64_t{1} << 40, -1, (int64_t{1} << 40) + 1},
        {"/files/0/above_frames", 0, most31, -1, most31 + 1},
        {"/files/0/floor_db", 10, 90, 9.9, 90.1},
        {"/files/0/input_limit", 1e-30, 3.4e38, 0, 3.5e38},
        {"/files/1/streaming/lookahead", 0, 4096, -1, (1 << 21) + 1},
        {"/files/1/streaming/states/0/shape/1", 1, 1000, 0, most31 + 1},
        {"/files/1/streaming/states/0/initial", -3.4e38, 3.4e38, -3.5e38, 3.5e38},
        {"/files/0/inputs/0/shape/1", 1, 1000, 0, most31 + 1},
        {"/files/2/engine/profile/max/0", 1, most31, 0, most31 + 1},
        {"/files/2/engine/profile/min/0", 1, most31, 0, most31 + 1},
        {"/files/2/engine/sms/0", 1, 999, 0, 1000},
        {"/high_pass/cutoff_hz", 1e-3, 200, 0, 200.1},
        {"/high_pass/streaming_cutoff_hz", 1e-3, 200, 0, 200.1},
    };
    for (const Bound &bound : bounds) {
        CAPTURE(std::string(bound.place));
        CHECK(refusal_with(bound.place, bound.least) == "");
        CHECK(refusal_with(bound.place, bound.most) == "");
        for (const Json &beyond :
             {bound.below, bound.above, Json(1e308), Json("1"), Json(true), Json(Json::array()), Json(Json::object())})
            // An axis may be text, which is a dynamic one.
            if (!(beyond.is_string() && has(bound.place, "/inputs/")))
                CHECK(has(refusal_with(bound.place, beyond), "`" + named(bound.place) + "`"));
    }
}

TEST_CASE("manifest: lengths beyond their bounds are refused, whatever else they break") {
    for (const char *place : {"/padding/size", "/segments/length", "/stft/window_length", "/stft/hop_length",
                              "/stft/fft_length", "/files/1/streaming/chunk"})
        for (const Json &beyond : {Json(0), Json(-1), Json(INT64_MIN), Json((1 << 21) + 1), Json(INT64_MAX),
                                   Json(UINT64_MAX), Json(1.5), Json(nullptr)}) {
            CAPTURE(std::string(place));
            CAPTURE(beyond.dump());
            CHECK(has(refusal_with(place, beyond), "`" + named(place) + "`"));
        }
}

TEST_CASE("manifest: numbers that contradict each other") {
    CHECK(has(refusal_with("/segments/left", 64), "`segments` drops at least as much"));
    CHECK(refusal_with("/segments", {{"length", 64}, {"left", 55}, {"right", 8}, {"above", 0}}) == "");
    CHECK(has(refusal_with("/segments", {{"length", 65}, {"left", 56}, {"right", 8}, {"above", 0}}),
              "`segments` overlaps more than 64 windows"));
    CHECK(has(refusal_with("/stft/hop_length", 9), "hop_length <= window_length"));
    CHECK(has(refusal_with("/stft/window_length", 7), "even window_length"));
    CHECK(has(refusal_with("/stft/fft_length", 258), "64 times the hop_length"));
    CHECK(has(refusal_with("/padding/size", 7), "has a window that `padding` and `segments` do not hold"));
    CHECK(has(refusal_with("/files/1/streaming/lookahead", 4097), "lookahead of more than 4096 calls"));
    CHECK(has(refusal_with("/files/1/streaming/chunk", 2), "contradict each other"));
    CHECK(has(refusal_with("/domain", "waveform"), "contradict each other"));
    CHECK(has(refusal_with("/files/0/role", "core_streaming"), "must have `streaming`"));
    CHECK(has(refusal_with("/files/0/format", "engine"), "must have `engine`"));
    CHECK(has(refusal_with("/files/1/streaming/states/0/next", "past"), "shares a name"));
    CHECK(has(refusal_with("/files/1/streaming/states/0/shape/0", "rows"), "batch as its first axis"));
    CHECK(has(refusal_with("/files/1/streaming/states/0/shape", Json::array()), "batch as its first axis"));
    CHECK(has(refusal_with("/files/2/engine/profile/max", Json::array()), "whose shapes have no axes"));
    CHECK(has(refusal_with("/files/2/engine/profile/min", Json::array({1})), "or not the same"));
}

TEST_CASE("manifest: a row of tensors has an end") {
    CHECK(has(refusal_with("/files/0/inputs/0/shape", Json::array({"batch", 1 << 13, 1 << 13})),
              "values in the tensors"));
    CHECK(has(refusal_with("/files/1/streaming/states/0/shape", Json::array({"batch", 2147483647, 2147483647})),
              "values in the tensors"));
    Json json = intact();
    Json &states = json["files"][1]["streaming"]["states"];
    for (int i = 0; i < 40; ++i)  // each fits, all do not
        states.push_back({{"name", "s" + std::to_string(i)},
                          {"next", "n" + std::to_string(i)},
                          {"shape", Json::array({"batch", 1 << 20})}});
    CHECK(has(refusal(json), "values in the tensors"));
}

TEST_CASE("manifest: states in bytes") {
    for (const Json &initial : {Json(-1), Json(256), Json(0.5)}) {
        Json json = intact();
        json["files"][1]["streaming"]["states"][0]["dtype"] = "uint8";
        json["files"][1]["streaming"]["states"][0]["initial"] = initial;
        CHECK(has(refusal(json), "as uint8, 0 to 255"));
        json["files"][1]["streaming"]["states"][0]["initial"] = 128;
        CHECK(refusal(json) == "");
    }
}

TEST_CASE("manifest: what is missing is named") {
    for (const char *place : {"/schema",
                              "/model",
                              "/domain",
                              "/sample_rate",
                              "/level",
                              "/weights",
                              "/weights/source",
                              "/padding",
                              "/padding/rule",
                              "/padding/size",
                              "/segments",
                              "/segments/length",
                              "/segments/above",
                              "/files",
                              "/stft/window_length",
                              "/files/0/path",
                              "/files/0/role",
                              "/files/0/sha256",
                              "/files/0/bytes",
                              "/files/1/streaming/chunk",
                              "/files/1/streaming/states/0/next",
                              "/files/2/engine/backend"}) {
        CAPTURE(std::string(place));
        CHECK(refusal_without(place) == "`" + named(place) + "` is missing");
    }
    for (const char *place :
         {"/high_pass", "/files/0/inputs", "/files/0/floor_db", "/files/1/streaming/end", "/stft/center"})
        CHECK(refusal_without(place) == "");
}

TEST_CASE("manifest: words that there are not") {
    for (const char *place : {"/domain", "/level", "/weights/source", "/padding/rule", "/stft/window", "/stft/pad_mode",
                              "/files/0/role", "/files/0/precision", "/files/2/engine/backend",
                              "/files/2/quantization/target", "/files/1/streaming/states/0/dtype"}) {
        const std::string said = refusal_with(place, "x\x1b[2J");
        CHECK(has(said, "`" + named(place) + "` is 'x?[2J', it must be one of: "));
    }
}

TEST_CASE("manifest: paths stay inside the bundle") {
    for (const char *path : {"../core.onnx", "a/../../core.onnx", "a/..", "/etc/passwd", "C:core.onnx", "a\\..\\b", "",
                             ".", "./", "manifest.json", "a\nb", "..", "a/../b"})
        CHECK(has(refusal_with("/files/0/path", path), "`files[0].path`"));
    for (const char *path : {"a/b.onnx", "..core.onnx", "./core.onnx", "a b"})
        CHECK(refusal_with("/files/0/path", path) == "");
    CHECK(has(refusal_with("/files/0/path", std::string("a\0b", 3)), "null character"));
    CHECK(has(refusal_with("/files/1/path", "core.onnx"), "`files[1]` is listed twice"));
}

TEST_CASE("manifest: hashes") {
    for (const std::string &hash :
         {std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'A'), std::string(64, 'g')})
        CHECK(has(refusal_with("/files/0/sha256", hash), "64 hex digits"));
}

TEST_CASE("manifest: schemas") {
    CHECK(has(refusal_with("/schema", 3), "schema 3 is later than this library's 2; take a later libfrcrn"));
    CHECK(has(refusal_with("/schema", 1), "export the bundle again"));
    CHECK(has(refusal_with("/schema", 0), "`schema` is 0"));
    // A later schema may look otherwise altogether.
    CHECK(has(refusal(std::string(R"({"schema": 3})")), "take a later libfrcrn"));
}

TEST_CASE("manifest: texts and lists have a length") {
    CHECK(refusal_with("/model", std::string(255, 'a')) == "");
    CHECK(has(refusal_with("/model", std::string(256, 'a')), "`model` is longer than 255 characters"));
    std::string umlauts;
    for (int i = 0; i < 255; ++i) umlauts += "\xc3\xa4";
    CHECK(refusal_with("/model", umlauts) == "");
    CHECK(refusal_with("/weights/attribution", std::string(4000, 'a')) == "");
    CHECK(has(refusal_with("/weights/attribution", std::string(4001, 'a')), "longer than 4000"));
    CHECK(has(refusal_with("/files", Json(std::vector<int>(1025))), "`files` has 1025 entries, at most 1024"));
    CHECK(has(refusal_with("/files/1/streaming/states", Json(std::vector<int>(4097))), "at most 4096"));
    CHECK(has(refusal_with("/files/0/inputs", Json(std::vector<int>(9))), "at most 8"));
    CHECK(has(refusal_with("/files/0/inputs/0/shape", Json(std::vector<int>(9, 1))), "at most 8"));
}

TEST_CASE("manifest: not JSON, or JSON without an end") {
    const std::string whole = frcrn::samples::manifest();
    for (size_t bytes = 0; bytes < whole.size(); bytes += 7)
        CHECK(refusal(whole.substr(0, bytes)) == "not JSON in UTF-8");
    for (const char *more : {"x", "{}", "\0", "\0{}"})
        CHECK(refusal(whole + std::string(more, 1) + (more + 1)) == "not JSON in UTF-8");
    CHECK(refusal(std::string("\xff\xfe{}")) == "not JSON in UTF-8");
    CHECK(refusal(std::string("{\"model\": \"\xff\"}")) == "not JSON in UTF-8");
    CHECK(refusal(std::string(1'000'000, '[')) == "JSON that is nested too deeply");
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
    CHECK(refusal(objects) == "JSON that is nested too deeply");
    std::string zeros = "[0";
    for (int i = 0; i < 2'000'000; ++i) zeros += ",0";
    CHECK(refusal(zeros + "]") == "JSON of too many values");
    for (const char *other : {"[]", "1", "null", "\"a\"", "{}"}) CHECK(refusal(std::string(other)) != "");
}

TEST_CASE("manifest: objects that are something else") {
    for (const char *place : {"/weights", "/padding", "/segments", "/stft", "/high_pass", "/files", "/files/0",
                              "/files/0/inputs", "/files/0/inputs/0", "/files/1/streaming",
                              "/files/1/streaming/states/0", "/files/2/engine", "/files/2/quantization"})
        for (const Json &other : {Json(1), Json("a"), Json(true), Json(Json::array({1}))})
            CHECK(refusal_with(place, other) != "");
}

TEST_CASE("padding: the rules") {
    frcrn::Padding padding{"multiple", 8, 1};
    CHECK(padding.samples(8) == 0);
    CHECK(padding.samples(9) == 7);
    padding = {"hops", 8, 4};
    CHECK(padding.samples(3) == 5);
    CHECK(padding.samples(8) == 0);
    CHECK(padding.samples(9) == 3);
    padding = {"windows", 8, 4};
    CHECK(padding.samples(3) == 5);
    CHECK(padding.samples(9) == 3);
    CHECK(padding.samples(16) == 0);
    CHECK(padding.samples(17) == 9);
}
