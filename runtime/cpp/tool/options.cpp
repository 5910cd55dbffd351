#include "options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "failure.h"

namespace tool {

Options model_options() {
    return {
        {"onnxruntime", 0, "FILE",
         "The library of ONNX Runtime. Default: FRCRN_ONNXRUNTIME, or what the loader finds."},
        {"provider", 0, "NAME", "cpu, cuda, tensorrt or tensorrt-rtx. Default: cpu."},
        {"provider-library", 0, "FILE", "The library of a plugin provider, for tensorrt-rtx."},
        {"precision", 0, "NAME",
         "The bundle's file of this precision: fp32, fp16, int8 or fp8. Default: fp32; of engines fp16 first."},
        {"threads", 't', "N", "Processor threads. Default: all for recordings, 1 for streams."},
        {"high-pass", 0, nullptr, "Take out DC and infrasound first. Default: as the network was published."},
        {"no-high-pass", 0, nullptr, "Leave DC and infrasound in."},
    };
}

Options audio_options() {
    return {
        {"attenuation-limit", 0, "DB", "Lower noise by at most this much; some of the room stays. Default: no limit."},
        {"keep-level", 0, nullptr, "Keep the level that the network works at, instead of the input's."},
    };
}

Options operator+(Options left, const Options &right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

Arguments::Arguments(const std::string &command, const std::vector<std::string> &operands, const Options &options,
                     const std::vector<std::string> &given)
    : command_(command) {
    bool only_operands = false;
    for (size_t i = 0; i < given.size(); ++i) {
        const std::string &word = given[i];
        if (only_operands || word.size() < 2 || word[0] != '-') {
            operands_.push_back(word);
            continue;
        }
        if (word == "--") {
            only_operands = true;
            continue;
        }
        const bool is_long = word[1] == '-';
        const size_t equals = is_long ? word.find('=') : std::string::npos;
        const std::string name = is_long ? word.substr(2, equals - 2) : word.substr(1);
        const auto found = std::find_if(options.begin(), options.end(), [&](const Option &option) {
            return is_long ? name == option.name : name.size() == 1 && name[0] == option.letter;
        });
        if (found == options.end()) refuse("no such option: " + word);
        if (found->value == nullptr) {
            if (equals != std::string::npos) refuse("--" + name + " takes no value");
            values_[found->name] = "";
        } else if (equals != std::string::npos) {
            take(*found, word.substr(equals + 1));
        } else {
            if (i + 1 == given.size()) refuse(word + " needs a value: " + word + " " + found->value);
            take(*found, given[++i]);
        }
    }
    if (operands_.size() < operands.size()) refuse(operands[operands_.size()] + " is missing");
    if (operands_.size() > operands.size()) refuse("one argument too many: " + operands_[operands.size()]);
    if (has("high-pass") && has("no-high-pass")) refuse("--high-pass and --no-high-pass: give one");
}

void Arguments::take(const Option &option, const std::string &value) {
    if (!values_.emplace(option.name, value).second) refuse("--" + std::string(option.name) + " is given twice");
}

void Arguments::refuse(const std::string &problem) const {
    throw Failure(problem + "; see: frcrn " + command_ + " --help");
}

const char *Arguments::text(const std::string &name) const {
    const auto found = values_.find(name);
    return found != values_.end() ? found->second.c_str() : nullptr;
}

double Arguments::number(const std::string &name, double otherwise, double least, double most) const {
    const char *given = text(name);
    if (given == nullptr) return otherwise;
    char *end = nullptr;
    const double value = std::strtod(given, &end);
    if (end == given || *end != '\0' || !std::isfinite(value) || value < least || value > most) {
        char range[80];
        std::snprintf(range, sizeof range, "; give a number, %g to %g", least, most);
        refuse("--" + name + " " + given + range);
    }
    return value;
}

long Arguments::integer(const std::string &name, long otherwise, long least, long most) const {
    const double value =
        number(name, static_cast<double>(otherwise), static_cast<double>(least), static_cast<double>(most));
    if (value != std::floor(value)) refuse("--" + name + " " + text(name) + "; give a whole number");
    return static_cast<long>(value);
}

std::string help_of(const Options &options) {
    std::string lines;
    for (const Option &option : options) {
        std::string name = option.letter != 0 ? std::string("  -") + option.letter + ", --" : "      --";
        name += option.name;
        if (option.value != nullptr) name += std::string(" ") + option.value;
        name.resize(std::max<size_t>(name.size() + 2, 34), ' ');
        lines += name + option.help + "\n";
    }
    return lines;
}

}  // namespace tool
