#include "bundle/onnx_file.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "error.h"
#include "samples.h"

using namespace frcrn::samples;

namespace {

std::string foreign(const std::string &content) {
    const File file(content);
    return frcrn::foreign_part(file.path());
}

std::string foreign_context(const std::string &content) {
    const File file(content);
    return frcrn::foreign_part_of_context(file.path(), "a.engine");
}

std::string context(const std::vector<std::string> &nodes) { return foreign_context(onnx(graph(nodes))); }

// A varint field of one byte.
std::string number_field(char number, char value) { return {static_cast<char>(number << 3), value}; }

std::string integer_attribute(const char *name, char value) {
    return field(5, field(1, name) + number_field(3, value));
}

std::string text_attribute(const char *name, const char *text) { return field(5, field(1, name) + field(4, text)); }

std::string foreign_node(const std::string &content) { return foreign(onnx(graph({node("Relu"), content}))); }

std::string refusal(const std::string &content) {
    try {
        const std::string found = foreign(content);
        return found.empty() ? "" : "foreign: " + found;
    } catch (const frcrn::Error &error) {
        CHECK(error.status == FRCRN_BUNDLE);
        return error.what();
    }
}

bool has(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

const std::string kBody = graph({node("Add")});

}  // namespace

TEST_CASE("onnx: a network") {
    CHECK(foreign("") == "");
    CHECK(foreign(onnx(graph({node("Conv"), node("Relu")}))) == "");
    CHECK(foreign_node(node("If", attribute_graph(kBody) + attribute_graph(kBody))) == "");
    CHECK(foreign_node(node("Scan", attribute_graph(kBody))) == "");
    // In a branch, a Scan is as good as outside.
    CHECK(foreign_node(node("If", attribute_graph(graph({node("Scan", attribute_graph(kBody))})))) == "");
}

TEST_CASE("onnx: nodes that may never end") {
    CHECK(has(foreign_node(node("Loop", attribute_graph(kBody))), "'Loop'"));
    CHECK(has(foreign_node(node("SequenceMap", attribute_graph(kBody))), "'SequenceMap'"));
    const std::string scan = node("Scan", attribute_graph(kBody));
    CHECK(has(foreign_node(node("Scan", attribute_graph(graph({scan})))), "in a Scan"));
    const std::string branch = node("If", attribute_graph(graph({scan})));
    CHECK(has(foreign_node(node("Scan", attribute_graph(graph({branch})))), "in a Scan"));
    // A name may stand behind its attributes, and an attribute may hold a list of graphs.
    CHECK(has(foreign_node(attribute_graph(kBody) + field(4, "Loop")), "'Loop'"));
    CHECK(has(foreign_node(node("Loop", field(5, field(11, kBody)))), "'Loop'"));
    CHECK(has(foreign(field(7, kBody) + field(7, graph({node("Loop", attribute_graph(kBody))}))), "'Loop'"));
}

TEST_CASE("onnx: compiled code, functions, weights elsewhere") {
    CHECK(has(foreign_node(node("EPContext")), "compiled code"));
    CHECK(foreign(onnx(kBody) + field(25, "f")) == "functions of its own");
    const std::string external = field(13, "location");
    CHECK(has(foreign(onnx(kBody + field(5, external))), "another file"));
    CHECK(has(foreign(onnx(kBody + field(15, field(1, external)))), "another file"));
    CHECK(has(foreign(onnx(kBody + field(15, field(2, external)))), "another file"));
    CHECK(has(foreign_node(node("Constant", field(5, field(5, external)))), "another file"));
    CHECK(has(foreign_node(node("Constant", field(5, field(10, external)))), "another file"));
    CHECK(has(foreign_node(node("Constant", field(5, field(22, field(1, external))))), "another file"));
    CHECK(has(foreign_node(node("If", attribute_graph(kBody + field(5, external)))), "another file"));
}

TEST_CASE("onnx: an EPContext file") {
    const std::string mode = integer_attribute("embed_mode", 0), one = text_attribute("ep_cache_context", "a.engine");
    const std::string intact = node("EPContext", mode + one + text_attribute("source", "Provider"));
    CHECK(context({intact}) == "");
    CHECK(context({intact, intact}) == "more than one node");
    CHECK(context({}) == "no node");
    CHECK(foreign_context(onnx(graph({intact})) + onnx(graph({intact}))) == "more than one node");
    CHECK(has(context({node("If", mode + one)}), "a node 'If'"));
    CHECK(has(context({node("EPContext", mode + one) + field(4, "If")}), "a node 'If'"));
    CHECK(has(context({node("EPContext", mode + one) + field(4, "EPContext")}), "no operator, or several"));
    CHECK(has(context({mode + one}), "no operator, or several"));
    for (const char *other : {"../a.engine", "b.engine", "sub/a.engine", "/a.engine", "a.engine/", ""})
        CHECK(has(context({node("EPContext", mode + text_attribute("ep_cache_context", other))}), "another file"));
    CHECK(has(context({node("EPContext", integer_attribute("embed_mode", 1) + one)}), "an engine of its own"));
    CHECK(has(context({node("EPContext", one)}), "without `ep_cache_context` or `embed_mode`"));
    CHECK(has(context({node("EPContext", mode)}), "without `ep_cache_context` or `embed_mode`"));
    CHECK(has(context({node("EPContext", mode + one + one)}), "'ep_cache_context' twice"));
    const std::string twice = field(5, field(1, "embed_mode") + number_field(3, 0) + number_field(3, 1));
    CHECK(has(context({node("EPContext", twice + one)}), "two values"));
    CHECK(has(context({node("EPContext", mode + one + text_attribute("onnx_model_filename", "b"))}),
              "an attribute 'onnx_model_filename'"));
    CHECK(has(context({node("EPContext", mode + one + attribute_graph(kBody))}), "no number and no text"));
    CHECK(foreign_context(onnx(graph({intact})) + field(25, "f")) == "functions of its own");
    CHECK(foreign_context(onnx(graph({intact}) + field(5, ""))) == "weights");
    CHECK(foreign_context(onnx(graph({intact}) + field(15, ""))) == "weights");
}

TEST_CASE("onnx: graphs in graphs, and many nodes") {
    std::string inner = kBody;
    for (int depth = 0; depth < 64; ++depth) inner = graph({node("If", attribute_graph(inner))});
    CHECK(foreign(onnx(inner)) == "");
    inner = graph({node("If", attribute_graph(inner))});
    CHECK(has(foreign(onnx(inner)), "nested too deeply"));
    CHECK(foreign(onnx(graph(std::vector<std::string>(100'000, node("Add"))))) == "");
    CHECK(has(foreign(onnx(graph(std::vector<std::string>(100'001, node("Add"))))), "more than 100000 nodes"));
}

TEST_CASE("onnx: cut or damaged") {
    const std::string whole = onnx(graph({node("Relu"), node("If", attribute_graph(kBody))}));
    for (size_t bytes = 3; bytes < whole.size(); ++bytes)
        CHECK(has(refusal(whole.substr(0, bytes)), "not an ONNX file (truncated)"));
    CHECK(has(refusal("\x0b"), "not an ONNX file"));                                   // a group
    CHECK(has(refusal(std::string(11, '\xff')), "not an ONNX file"));                  // a number of 11 bytes
    CHECK(has(refusal("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "truncated"));  // 2^64 - 1 bytes
    CHECK(has(refusal("\x0d\x01\x02"), "truncated"));                                  // 4 bytes
    CHECK(has(refusal("\x09\x01\x02"), "truncated"));                                  // 8 bytes
}

TEST_CASE("onnx: a file that cannot be read") {
    CHECK_THROWS_WITH_AS(frcrn::foreign_part("/nowhere/core.onnx"),
                         "/nowhere/core.onnx: cannot be read (No such file or directory)", frcrn::Error);
}
