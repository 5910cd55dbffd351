// The commands: each takes the words behind its name, and gives the exit code or raises Failure.
#pragma once

#include <string>
#include <vector>

namespace tool {

using Words = std::vector<std::string>;

struct Command {
    const char *name;
    const char *usage;  // "BUNDLE IN OUT"
    const char *summary;
    int (*run)(const Words &words);
    std::string (*help)();
};

extern const Command kDenoise, kStream, kVerify, kBench, kInfo;

}  // namespace tool
