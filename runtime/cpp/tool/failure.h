// What ends a command: one line on standard error and an exit code.
#pragma once

#include <stdexcept>
#include <string>

namespace tool {

constexpr int kCheckFailed = 1, kUserError = 2;

class Failure : public std::runtime_error {
public:
    explicit Failure(const std::string &text, int exit_code = kUserError)
        : std::runtime_error(text), exit_code(exit_code) {}

    int exit_code;
};

}  // namespace tool
