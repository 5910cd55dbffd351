// Errors of the library: an exception inside, a status and a text at the C boundary.
#pragma once

#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "frcrn.h"

namespace frcrn {

class Error : public std::runtime_error {
public:
    Error(frcrn_status status, const std::string &text) : std::runtime_error(text), status(status) {}

    frcrn_status status;
};

// Text from outside in an error: control characters replaced, cut to a length that can be read.
inline std::string shown(const std::string &text) {
    constexpr size_t most = 200;
    std::string out = "'";
    for (size_t i = 0; i < text.size() && i < most; ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        out += c < 0x20 || c == 0x7f ? '?' : text[i];
    }
    return out + (text.size() > most ? "...'" : "'");
}

// A word of a command to paste into a shell.
inline std::string quoted(const std::string &word) {
    constexpr char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=.,/:@%";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
    std::string out = "'";
    for (const char c : word) {
        if (c == '\'') out += "'\"'\"";
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
    return out + "'";
}

// A number as people write it: 8000, 0.5.
inline std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}

inline frcrn_status report(frcrn_error *error, frcrn_status status, const char *text) noexcept {
    if (error != nullptr) {
        error->status = status;
        std::snprintf(error->text, sizeof error->text, "%s", text);
    }
    return status;
}

// Run `body` so that no exception leaves it. `error` is written in any case.
template <typename Body>
frcrn_status guarded(frcrn_error *error, Body &&body) noexcept {
    try {
        body();
        return report(error, FRCRN_OK, "");
    } catch (const Error &caught) {
        return report(error, caught.status, caught.what());
    } catch (const std::bad_alloc &) {
        return report(error, FRCRN_MEMORY, "out of memory");
    } catch (const std::exception &caught) {
        return report(error, FRCRN_INTERNAL, caught.what());
    } catch (...) {
        return report(error, FRCRN_INTERNAL, "an error without a name");
    }
}

}  // namespace frcrn
