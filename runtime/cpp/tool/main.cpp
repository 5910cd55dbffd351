// frcrn: denoise recordings and streams with a bundle, and check and measure it. Over frcrn.h alone.
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "commands.h"
#include "failure.h"
#include "frcrn.h"
#include "json.h"

namespace {

using namespace tool;

const Command *const kCommands[] = {&kDenoise, &kStream, &kVerify, &kBench, &kInfo};

std::string overview() {
    std::string text = "Usage: frcrn COMMAND BUNDLE ...\n\nNeural speech denoisers from bundles of frcrn-export.\n\n";
    for (const Command *command : kCommands) {
        std::string name = std::string("  ") + command->name + " " + command->usage;
        name.resize(std::max<size_t>(name.size() + 2, 26), ' ');
        text += name + command->summary + "\n";
    }
    return text +
           "\n  --help, --version; options of a command: frcrn COMMAND --help\n\n"
           "ONNX Runtime runs the network: --onnxruntime FILE, the variable FRCRN_ONNXRUNTIME, or what the\n"
           "loader finds. Exit codes: 0; 1: a check failed; 2: the input or the options cannot be used.\n";
}

bool asks_for_help(const Words &words) {
    for (const std::string &word : words) {
        if (word == "--") return false;
        if (word == "--help" || word == "-h") return true;
    }
    return false;
}

// Where a standard stream is closed, the next file that is opened would take its place.
void occupy_standard_streams() {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(descriptor, F_GETFD) < 0)  // using it fails still: it is open in the other direction
            ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int run(const Words &words) {
    if (words.empty()) throw Failure("no command; see: frcrn --help");
    if (words[0] == "--help" || words[0] == "-h") return std::fputs(overview().c_str(), stdout), 0;
    if (words[0] == "--version") return std::printf("frcrn %s\n", frcrn_version()), 0;
    for (const Command *command : kCommands) {
        if (words[0] != command->name) continue;
        const Words rest(words.begin() + 1, words.end());
        if (!asks_for_help(rest)) return command->run(rest);
        std::printf("Usage: frcrn %s %s [OPTIONS]\n\n%s\n\n%s", command->name, command->usage, command->summary,
                    command->help().c_str());
        return 0;
    }
    throw Failure("no such command: " + words[0] + "; see: frcrn --help");
}

// What stdio holds back. A reader that has gone is no error.
int close_output(int exit_code) {
    errno = 0;
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
    if (errno == EPIPE) return exit_code;
    std::fprintf(stderr, "error: standard output cannot be written (%s)\n", std::strerror(errno));
    return kUserError;
}

int fail(const std::string &text, int exit_code) {
    std::fprintf(stderr, "error: %s\n", printable(text).c_str());
    return exit_code;
}

}  // namespace

int main(int count, char **given) {
#if defined(M_MMAP_THRESHOLD)  // glibc
    // What opening a network frees goes back to the system, so that its peak is a tenth lower.
    mallopt(M_MMAP_THRESHOLD, 1 << 16);
#endif
    ::setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    occupy_standard_streams();
    std::signal(SIGPIPE, SIG_IGN);  // writing gives EPIPE instead
    std::signal(SIGXFSZ, SIG_IGN);  // and EFBIG
    try {
        return close_output(run(Words(given + 1, given + count)));
    } catch (const Failure &failure) {
        std::fflush(stdout);
        return fail(failure.what(), failure.exit_code);
    } catch (const std::bad_alloc &) {
        return fail("this takes more memory than there is; free some, or take a smaller input", kUserError);
    } catch (const std::exception &error) {
        return fail(std::string("unexpected: ") + error.what(), kCheckFailed);
    }
}
