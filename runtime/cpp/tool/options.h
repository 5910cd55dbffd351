// The options and operands of a command, and the help that lists them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "frcrn.h"

namespace tool {

struct Option {
    const char *name;   // "threads", given as --threads
    char letter;        // 't', or 0
    const char *value;  // "N" in the help; NULL for a flag
    const char *help;
};

using Options = std::vector<Option>;

// Those of every command that opens a model, and of those that denoise.
Options model_options();
Options audio_options();
Options operator+(Options left, const Options &right);

class Arguments {
public:
    // `operands` are names for the help, such as {"BUNDLE", "IN"}; each must be given. Raises Failure.
    Arguments(const std::string &command, const std::vector<std::string> &operands, const Options &options,
              const std::vector<std::string> &given);

    bool has(const std::string &name) const { return values_.count(name) > 0; }
    const std::string &operand(size_t index) const { return operands_[index]; }

    // The value of an option; NULL where it was not given. Lives as long as this.
    const char *text(const std::string &name) const;
    // Raises Failure for what is no number, or one below `least` or above `most`.
    double number(const std::string &name, double otherwise, double least, double most) const;
    long integer(const std::string &name, long otherwise, long least, long most) const;

private:
    void take(const Option &option, const std::string &value);
    [[noreturn]] void refuse(const std::string &problem) const;

    std::string command_;
    std::vector<std::string> operands_;
    std::map<std::string, std::string> values_;
};

// The lines of a list of options.
std::string help_of(const Options &options);

}  // namespace tool
