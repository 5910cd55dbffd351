#include "audio_file.h"

#include <fcntl.h>
#include <sndfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "failure.h"

namespace tool {
namespace {

constexpr sf_count_t kBlockFrames = 1 << 16;
constexpr int kMostChannels = 64, kLeastRate = 1'000, kMostRate = 768'000;
constexpr sf_count_t kUnknownFrames = sf_count_t{1} << 40;  // FLAC from a pipe says 2^63 - 1
constexpr sf_count_t kMp3Tolerance = 4 * 1152;              // an MP3 states its length only roughly

struct Close {
    void operator()(SNDFILE *file) const { sf_close(file); }
};
using File = std::unique_ptr<SNDFILE, Close>;

Tags read_tags(SNDFILE *file) {
    Tags tags;
    for (int name = SF_STR_FIRST; name <= SF_STR_LAST; ++name) {
        const char *text = sf_get_string(file, name);
        if (text != nullptr && name != SF_STR_SOFTWARE) tags.strings[name] = text;  // each writer sets its own
    }
    tags.broadcast.resize(16'000);
    const auto size = static_cast<int>(tags.broadcast.size());
    if (sf_command(file, SFC_GET_BROADCAST_INFO, tags.broadcast.data(), size) == 0) tags.broadcast.clear();
    return tags;
}

void write_tags(SNDFILE *file, int format, Tags tags) {
    const bool is_mp3 = (format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG;
    for (const auto &[name, text] : tags.strings) {
        const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
        if (ascii || !is_mp3) sf_set_string(file, name, text.c_str());  // MP3's would take UTF-8 for letters
    }
    if (!tags.broadcast.empty())
        sf_command(file, SFC_SET_BROADCAST_INFO, tags.broadcast.data(), static_cast<int>(tags.broadcast.size()));
}

// libsndfile rounds towards minus infinity, so samples are rounded to whole steps first; 0: as they are.
float steps_of(int subtype) {
    switch (subtype) {
        case SF_FORMAT_PCM_S8:
        case SF_FORMAT_PCM_U8: return 1 << 7;
        case SF_FORMAT_PCM_16: return 1 << 15;
        case SF_FORMAT_PCM_24: return 1 << 23;
        default: return 0;
    }
}

bool has_full_scale(int subtype) {
    return subtype != SF_FORMAT_FLOAT && subtype != SF_FORMAT_DOUBLE && subtype != SF_FORMAT_VORBIS &&
           subtype != SF_FORMAT_OPUS && subtype != SF_FORMAT_MPEG_LAYER_III;
}

// An interrupt waits while this is there, so that it leaves no half-written file. By a handler and not by a
// mask: masks are of one thread, and ONNX Runtime has others.
class Uninterrupted {
public:
    Uninterrupted() {
        waiting_ = 0;
        struct sigaction action{};
        action.sa_handler = [](int number) { waiting_ = number; };
        action.sa_flags = SA_RESTART;
        for (size_t i = 0; i < kCount; ++i) ::sigaction(kSignals[i], &action, &before_[i]);
    }
    ~Uninterrupted() {
        for (size_t i = 0; i < kCount; ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
        if (waiting_ != 0) ::raise(waiting_);
    }
    Uninterrupted(const Uninterrupted &) = delete;
    Uninterrupted &operator=(const Uninterrupted &) = delete;

private:
    static constexpr size_t kCount = 3;
    static constexpr int kSignals[kCount] = {SIGINT, SIGTERM, SIGHUP};
    static volatile std::sig_atomic_t waiting_;
    struct sigaction before_[kCount]{};
};
volatile std::sig_atomic_t Uninterrupted::waiting_ = 0;

// A file beside its output, hidden, until it is complete.
class PartialFile {
public:
    explicit PartialFile(const std::string &path) : path_(path) {
        const std::filesystem::path output(path);
        partial_ = output.parent_path() /
                   ("." + output.filename().string().substr(0, 200) + "." + std::to_string(::getpid()) + ".partial");
        std::error_code ignored;
        if (output.has_parent_path()) std::filesystem::create_directories(output.parent_path(), ignored);
    }
    ~PartialFile() { ::unlink(partial_.c_str()); }
    PartialFile(const PartialFile &) = delete;
    PartialFile &operator=(const PartialFile &) = delete;

    // A descriptor of the new file. Raises Failure.
    int create() const {
        ::unlink(partial_.c_str());
        const int descriptor = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor < 0) refuse(std::strerror(errno));
        return descriptor;
    }
    void rename() const {
        if (std::rename(partial_.c_str(), path_.c_str()) != 0) refuse(std::strerror(errno));
    }
    sf_count_t frames() const {
        SF_INFO info{};
        const File file(sf_open(partial_.c_str(), SFM_READ, &info));
        if (file == nullptr) refuse(sf_strerror(nullptr));
        return info.frames;
    }
    [[noreturn]] void refuse(const std::string &why) const {
        throw Failure(path_ + ": cannot be written (" + why + "); give another place as OUT");
    }

private:
    std::string path_;
    std::filesystem::path partial_;
};

}  // namespace

Recording read_recording(const std::string &path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) throw Failure(path + ": " + std::strerror(errno) + "; give an audio file");
    if (!S_ISREG(status.st_mode)) throw Failure(path + ": no regular file; give an audio file");
    if (status.st_size == 0) throw Failure(path + ": a file of zero length; record or copy it again");
    SF_INFO info{};
    const File file(sf_open(path.c_str(), SFM_READ, &info));
    if (file == nullptr)
        throw Failure(path + ": cannot be read as audio (" + sf_strerror(nullptr) +
                      "); copy or record it again, or convert it: ffmpeg -i FILE audio.wav");
    if (info.channels > kMostChannels)
        throw Failure(path + ": " + std::to_string(info.channels) + " channels; at most " +
                      std::to_string(kMostChannels) + " are taken");
    if (info.samplerate < kLeastRate || info.samplerate > kMostRate)
        throw Failure(path + ": a sample rate of " + std::to_string(info.samplerate) + " Hz; give " +
                      std::to_string(kLeastRate) + " to " + std::to_string(kMostRate));
    Recording recording;
    recording.tags = read_tags(file.get());
    recording.channels.resize(static_cast<size_t>(info.channels));
    const auto count = recording.channels.size();
    // Block by block: a header may promise more than there is.
    std::vector<float> block(static_cast<size_t>(kBlockFrames) * count);
    sf_count_t frames = 0;
    while (const sf_count_t read = sf_readf_float(file.get(), block.data(), kBlockFrames)) {
        if (read < 0) break;
        for (size_t c = 0; c < count; ++c) {
            std::vector<float> &channel = recording.channels[c];
            for (size_t i = 0; i < static_cast<size_t>(read); ++i) channel.push_back(block[i * count + c]);
        }
        frames += read;
    }
    if (frames == 0)
        throw Failure(path +
                      ": no samples in it, says its header; give audio with at least one sample, or where the "
                      "writer never completed it: frcrn stream BUNDLE < IN > OUT");
    const bool is_mp3 = (info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG;
    const sf_count_t missing = info.frames - frames;
    if (missing > (is_mp3 ? kMp3Tolerance : 0) && missing < kUnknownFrames) {
        char text[80];
        std::snprintf(text, sizeof text, "ends early, at %.2f s of %.2f s",
                      static_cast<double>(frames) / info.samplerate,
                      static_cast<double>(info.frames) / info.samplerate);
        recording.loss = text;
    }
    recording.shape = {info.format, info.samplerate, info.channels, frames};
    return recording;
}

size_t write_recording(const std::string &path, const Recording &recording, int format) {
    const Uninterrupted uninterrupted;
    const PartialFile partial(path);
    const int subtype = format & SF_FORMAT_SUBMASK;
    SF_INFO info{};
    info.samplerate = recording.shape.sample_rate;
    info.channels = recording.shape.channels;
    info.format = format;
    File file(sf_open_fd(partial.create(), SFM_WRITE, &info, SF_TRUE));
    if (file == nullptr) partial.refuse(sf_strerror(nullptr));
    sf_command(file.get(), SFC_SET_CLIPPING, nullptr, SF_TRUE);
    write_tags(file.get(), format, recording.tags);
    const size_t count = recording.channels.size(), frames = recording.channels[0].size();
    const float steps = steps_of(subtype);
    const bool clips = has_full_scale(subtype);
    size_t clipped = 0;
    std::vector<float> block(static_cast<size_t>(kBlockFrames) * count);
    // libsndfile's Vorbis encoder overflows its stack on very long writes.
    for (size_t start = 0; start < frames; start += static_cast<size_t>(kBlockFrames)) {
        const size_t n = std::min(static_cast<size_t>(kBlockFrames), frames - start);
        for (size_t c = 0; c < count; ++c)
            for (size_t i = 0; i < n; ++i) {
                const float sample = recording.channels[c][start + i];
                clipped += clips && std::fabs(sample) > 1.0F ? 1 : 0;
                block[i * count + c] = steps > 0 ? std::nearbyint(sample * steps) / steps : sample;
            }
        if (sf_writef_float(file.get(), block.data(), static_cast<sf_count_t>(n)) != static_cast<sf_count_t>(n))
            partial.refuse(sf_strerror(file.get()));
    }
    if (sf_close(file.release()) != 0) partial.refuse("it could not be closed");
    const auto kept = static_cast<size_t>(partial.frames());
    if (kept < frames)
        throw Failure(path + ": the file kept " + std::to_string(kept) + " of " + std::to_string(frames) +
                      " samples; use .wav or .flac");
    partial.rename();
    return clipped;
}

}  // namespace tool
