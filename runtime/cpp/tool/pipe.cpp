#include "pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "failure.h"

namespace tool {
namespace {

const char *const kSayRaw = "give WAV, or raw PCM as --format s16le says it, with --rate and --channels";

// At most n bytes, as soon as there are any; none at the end.
Bytes some(size_t n) {
    Bytes bytes(n);
    while (true) {
        const ssize_t count = ::read(STDIN_FILENO, bytes.data(), n);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw Failure(std::string("standard input cannot be read (") + std::strerror(errno) + ")");
        bytes.resize(static_cast<size_t>(count));
        return bytes;
    }
}

Bytes exactly(size_t n) {
    Bytes bytes;
    while (bytes.size() < n) {
        const Bytes more = some(n - bytes.size());
        if (more.empty()) break;
        bytes.insert(bytes.end(), more.begin(), more.end());
    }
    return bytes;
}

bool begins_wav(const Bytes &bytes) {
    return bytes.size() >= 4 &&
           (std::memcmp(bytes.data(), "RIFF", 4) == 0 || std::memcmp(bytes.data(), "RF64", 4) == 0);
}

// Bytes that have arrived already, without waiting for any.
bool another_waits() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    return ::poll(&input, 1, 0) == 1 && (input.revents & POLLIN) != 0 && begins_wav(some(4));
}

// A file of that size, written from its beginning and not appended to.
bool rewritable(uint64_t size) {
    struct stat status{};
    return ::fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) &&
           ::lseek(STDOUT_FILENO, 0, SEEK_CUR) == static_cast<off_t>(size) &&
           (::fcntl(STDOUT_FILENO, F_GETFL) & O_APPEND) == 0;
}

}  // namespace

void interrupts_end_input() {
    struct sigaction action{};
    // Every later read finds an end, also one that has not begun.
    action.sa_handler = [](int) {
        const int before = errno, nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
        errno = before;
    };
    action.sa_flags = SA_RESETHAND;  // and no SA_RESTART
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

PipeReader::PipeReader(const PcmSpec *raw) {
    if (raw != nullptr) {
        header_.spec = *raw;
        return;
    }
    const Bytes begin = exactly(4);
    if (begin.empty()) throw Failure(std::string("standard input: nothing came; ") + kSayRaw);
    if (!begins_wav(begin))
        throw Failure(std::string("standard input: no WAV header; ") + kSayRaw +
                      "; of all else, convert it on the way: ffmpeg -i - -c:a pcm_s16le -f wav -");
    is_wav_ = true;
    header_ = read_wav_header(exactly);
    missing_ = header_.data_bytes;
}

Bytes PipeReader::read(size_t frames) {
    const size_t frame = spec().frame_bytes();
    while (held_.size() < frame) {
        size_t wanted = frames * frame - held_.size();
        if (missing_) wanted = static_cast<size_t>(std::min<uint64_t>(wanted, *missing_));
        const Bytes data = wanted > 0 ? some(wanted) : Bytes();
        if (data.empty()) {
            truncated_ = !held_.empty() || missing_.value_or(0) > 0;
            another_ = missing_ == uint64_t{0} && another_waits();
            return {};
        }
        if (missing_) *missing_ -= data.size();
        held_.insert(held_.end(), data.begin(), data.end());
    }
    const auto whole = static_cast<std::ptrdiff_t>(held_.size() / frame * frame);
    Bytes block(held_.begin(), held_.begin() + whole);
    held_.erase(held_.begin(), held_.begin() + whole);
    return block;
}

PipeWriter::PipeWriter(const WavHeader &header, bool is_wav) : header_(header), is_wav_(is_wav) {
    if (!is_wav) return;
    const Bytes bytes = wav_header(header);
    header_bytes_ = bytes.size();
    send(bytes);
}

void PipeWriter::write(const std::vector<std::vector<float>> &channels, size_t n) {
    const Bytes data = header_.spec.encode(channels, n, clipped_);
    written_ += data.size();
    send(data);
}

void PipeWriter::close() {
    if (!is_wav_ || broken_ || header_.data_bytes == written_) return;
    const Bytes corrected = wav_header({header_.spec, written_});
    if (corrected.size() != header_bytes_ || !rewritable(header_bytes_ + written_)) return;
    if (::lseek(STDOUT_FILENO, 0, SEEK_SET) != 0) return;
    send(corrected);
    ::lseek(STDOUT_FILENO, 0, SEEK_END);
}

void PipeWriter::send(const Bytes &data) {
    size_t sent = 0;
    while (!broken_ && sent < data.size()) {
        const ssize_t count = ::write(STDOUT_FILENO, data.data() + sent, data.size() - sent);
        if (count >= 0) {
            sent += static_cast<size_t>(count);
        } else if (errno == EPIPE) {
            broken_ = true;
        } else if (errno != EINTR) {
            throw Failure(std::string("standard output cannot be written (") + std::strerror(errno) + ")");
        }
    }
}

}  // namespace tool
