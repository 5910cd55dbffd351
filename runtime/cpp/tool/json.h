// JSON, as much as results need.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace tool {

// Text from outside, for a terminal: control characters replaced.
inline std::string printable(std::string text) {
    for (char &c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return text;
}

inline std::string json_text(const std::string &text) {
    std::string out = "\"";
    for (const char c : printable(text)) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

inline std::string json_number(double value) {
    if (!std::isfinite(value)) return "null";
    char text[40];
    std::snprintf(text, sizeof text, "%.10g", value);
    return text;
}

inline std::string json_flag(bool value) { return value ? "true" : "false"; }

// Members in their order; a value is JSON already.
class JsonObject {
public:
    JsonObject &add(const std::string &name, const std::string &value) {
        body_ += (body_.empty() ? "" : ", ") + json_text(name) + ": " + value;
        return *this;
    }
    JsonObject &add(const std::string &name, double value) { return add(name, json_number(value)); }
    std::string text() const { return "{" + body_ + "}"; }

private:
    std::string body_;
};

inline std::string json_list(const std::vector<std::string> &values) {
    std::string body;
    for (const std::string &value : values) body += (body.empty() ? "" : ", ") + value;
    return "[" + body + "]";
}

}  // namespace tool
