#include "audio_format.h"

#include <sndfile.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

#include "failure.h"

namespace tool {
namespace {

struct Container {
    const char *suffix;
    int format;
};

const Container kContainers[] = {
    {".wav", SF_FORMAT_WAV},     {".wave", SF_FORMAT_WAV},    {".wavex", SF_FORMAT_WAVEX}, {".rf64", SF_FORMAT_RF64},
    {".w64", SF_FORMAT_W64},     {".flac", SF_FORMAT_FLAC},   {".ogg", SF_FORMAT_OGG},     {".oga", SF_FORMAT_OGG},
    {".opus", SF_FORMAT_OGG},    {".mp3", SF_FORMAT_MPEG},    {".aif", SF_FORMAT_AIFF},    {".aiff", SF_FORMAT_AIFF},
    {".aifc", SF_FORMAT_AIFF},   {".caf", SF_FORMAT_CAF},     {".au", SF_FORMAT_AU},       {".snd", SF_FORMAT_AU},
    {".voc", SF_FORMAT_VOC},     {".paf", SF_FORMAT_PAF},     {".pvf", SF_FORMAT_PVF},     {".htk", SF_FORMAT_HTK},
    {".avr", SF_FORMAT_AVR},     {".ircam", SF_FORMAT_IRCAM}, {".sf", SF_FORMAT_IRCAM},    {".nist", SF_FORMAT_NIST},
    {".sph", SF_FORMAT_NIST},    {".8svx", SF_FORMAT_SVX},    {".iff", SF_FORMAT_SVX},     {".svx", SF_FORMAT_SVX},
    {".mpc2k", SF_FORMAT_MPC2K},
};

// The subtypes that a new container may get, by their bits; float has no full scale.
struct Depth {
    int subtype, bits;
};
const Depth kDepths[] = {{SF_FORMAT_PCM_16, 16},
                         {SF_FORMAT_PCM_24, 24},
                         {SF_FORMAT_PCM_32, 32},
                         {SF_FORMAT_FLOAT, 33},
                         {SF_FORMAT_DOUBLE, 64}};

int container_of(int format) { return format & SF_FORMAT_TYPEMASK; }
int subtype_of(int format) { return format & SF_FORMAT_SUBMASK; }

int bits_of(int subtype) {
    for (const Depth &depth : kDepths)
        if (depth.subtype == subtype) return depth.bits;
    switch (subtype) {
        case SF_FORMAT_ALAC_20:
        case SF_FORMAT_ALAC_24:
        case SF_FORMAT_DWVW_24: return 24;
        case SF_FORMAT_ALAC_32: return 32;
        default: return 16;
    }
}

int64_t bytes_of(int subtype) {
    switch (subtype) {
        case SF_FORMAT_PCM_S8:
        case SF_FORMAT_PCM_U8:
        case SF_FORMAT_ULAW:
        case SF_FORMAT_ALAW: return 1;
        case SF_FORMAT_PCM_24:
        case SF_FORMAT_ALAC_20:
        case SF_FORMAT_ALAC_24: return 3;
        case SF_FORMAT_PCM_32:
        case SF_FORMAT_FLOAT:
        case SF_FORMAT_ALAC_32: return 4;
        case SF_FORMAT_DOUBLE: return 8;
        default: return 2;
    }
}

// The most bytes of samples: sizes in AIFF and IFF are signed; of WAV the rest is for the header.
int64_t most_bytes(int container) {
    switch (container) {
        case SF_FORMAT_WAV:
        case SF_FORMAT_WAVEX: return (int64_t{1} << 32) - (1 << 20);
        case SF_FORMAT_RF64:
        case SF_FORMAT_W64:
        case SF_FORMAT_CAF:
        case SF_FORMAT_FLAC:
        case SF_FORMAT_OGG:
        case SF_FORMAT_MPEG: return int64_t{1} << 62;
        case SF_FORMAT_VOC: return (1 << 24) - 64;
        default: return (int64_t{1} << 31) - (1 << 20);
    }
}

bool is_wav(int container) {
    return container == SF_FORMAT_WAV || container == SF_FORMAT_WAVEX || container == SF_FORMAT_RF64 ||
           container == SF_FORMAT_W64;
}

std::string suffix_of(const std::string &path) {
    const size_t slash = path.rfind('/'), start = slash == std::string::npos ? 0 : slash + 1;
    const size_t dot = path.rfind('.');
    if (dot == std::string::npos || dot <= start) return "";
    std::string suffix = path.substr(dot);
    for (char &c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return suffix;
}

bool offers(int container, int subtype) {
    SF_INFO info{};
    info.samplerate = 48000;
    info.channels = 1;
    info.format = container | subtype;
    return sf_format_check(&info) != 0;
}

// The subtypes to try, best first.
std::vector<int> subtypes(int container, const std::string &suffix, int like) {
    if (container == SF_FORMAT_OGG) return {suffix == ".opus" ? SF_FORMAT_OPUS : SF_FORMAT_VORBIS};
    if (container == SF_FORMAT_MPEG) return {SF_FORMAT_MPEG_LAYER_III};
    std::vector<int> tried, deeper;
    const bool family = container == container_of(like) || (is_wav(container) && is_wav(container_of(like)));
    if (family && offers(container, subtype_of(like))) tried.push_back(subtype_of(like));
    for (const Depth &depth : kDepths) {
        if (!offers(container, depth.subtype)) continue;
        if (depth.bits >= bits_of(subtype_of(like))) tried.push_back(depth.subtype);
        deeper.push_back(depth.subtype);
    }
    tried.insert(tried.end(), deeper.rbegin(), deeper.rend());
    tried.push_back(SF_FORMAT_PCM_16);
    return tried;
}

// A file in memory, for libsndfile.
struct Memory {
    std::vector<char> bytes;
    sf_count_t at = 0;
};
sf_count_t memory_length(void *user) { return static_cast<sf_count_t>(static_cast<Memory *>(user)->bytes.size()); }
sf_count_t memory_tell(void *user) { return static_cast<Memory *>(user)->at; }
sf_count_t memory_seek(sf_count_t offset, int whence, void *user) {
    auto *memory = static_cast<Memory *>(user);
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? memory->at : memory_length(user);
    return memory->at = std::max<sf_count_t>(0, from + offset);
}
sf_count_t memory_read(void *to, sf_count_t count, void *user) {
    auto *memory = static_cast<Memory *>(user);
    count = std::clamp<sf_count_t>(memory_length(user) - memory->at, 0, count);
    std::memcpy(to, memory->bytes.data() + memory->at, static_cast<size_t>(count));
    memory->at += count;
    return count;
}
sf_count_t memory_write(const void *from, sf_count_t count, void *user) {
    auto *memory = static_cast<Memory *>(user);
    const auto end = static_cast<size_t>(memory->at + count);
    if (end > memory->bytes.size()) memory->bytes.resize(end);
    std::memcpy(memory->bytes.data() + memory->at, from, static_cast<size_t>(count));
    memory->at += count;
    return count;
}

// How long a number of frames of silence is once it has been written and read; 0 where that is refused.
sf_count_t frames_read(int format, const AudioShape &like, sf_count_t frames, std::string &refused) {
    SF_VIRTUAL_IO io{memory_length, memory_seek, memory_read, memory_write, memory_tell};
    Memory memory;
    SF_INFO info{};
    info.samplerate = like.sample_rate;
    info.channels = like.channels;
    info.format = format;
    SNDFILE *file = sf_open_virtual(&io, SFM_WRITE, &info, &memory);
    if (file == nullptr) return refused = sf_strerror(nullptr), 0;
    const std::vector<float> silence(static_cast<size_t>(frames * like.channels));
    const sf_count_t written = sf_writef_float(file, silence.data(), frames);
    if (sf_close(file) != 0 || written != frames) return refused = "it cannot be written", 0;
    const int container = container_of(format);
    if (container == SF_FORMAT_MPEG || container == SF_FORMAT_OGG) return frames;  // their readers trim
    memory.at = 0;
    SF_INFO read{};
    file = sf_open_virtual(&io, SFM_READ, &read, &memory);
    if (file == nullptr) return refused = sf_strerror(nullptr), 0;
    sf_close(file);
    if (read.samplerate == like.sample_rate && read.channels == like.channels) return read.frames;
    refused = "it would say " + std::to_string(read.samplerate) + " Hz, " + std::to_string(read.channels) + " channels";
    return 0;
}

// What lengths a format keeps: the multiples of a number of frames; or 0, and why.
sf_count_t granule(int format, const AudioShape &like, std::string &refused) {
    const sf_count_t least = frames_read(format, like, 1, refused);
    if (least <= 1 || frames_read(format, like, least, refused) == least) return least;
    refused = "it keeps no length";
    return 0;
}

std::string takes(int subtype, const std::string &refused) {
    if (subtype == SF_FORMAT_OPUS) return "it takes 8000, 12000, 16000, 24000 or 48000 Hz";
    if (subtype == SF_FORMAT_MPEG_LAYER_III) return "it takes 8000 to 48000 Hz, 1 or 2 channels";
    return refused;
}

const Container *find_container(const std::string &suffix) {
    for (const Container &container : kContainers)
        if (suffix == container.suffix) return &container;
    return nullptr;
}

}  // namespace

void check_suffix(const std::string &path) {
    const std::string suffix = suffix_of(path);
    if (find_container(suffix) == nullptr)
        throw Failure(path + ": '" + suffix + "' is no audio format to write; use .wav, .flac or .ogg");
}

int output_format(const std::string &path, const AudioShape &like) {
    check_suffix(path);
    const std::string suffix = suffix_of(path);
    int container = find_container(suffix)->format;
    if (container == SF_FORMAT_WAV && container_of(like.format) == SF_FORMAT_WAVEX) container = SF_FORMAT_WAVEX;
    std::string refused;
    int last = 0;
    for (const int subtype : subtypes(container, suffix, like.format)) {
        const int64_t size = like.frames * like.channels * bytes_of(subtype);
        int large_enough = container;
        if (size > most_bytes(container)) {
            if (container != SF_FORMAT_WAV && container != SF_FORMAT_WAVEX)
                throw Failure(path + ": " + std::to_string(size) + " bytes of samples, the container holds " +
                              std::to_string(most_bytes(container)) + "; use .wav (as RF64), .w64, .caf or .flac");
            large_enough = SF_FORMAT_RF64;
        }
        const int format = large_enough | subtype;
        const sf_count_t kept = granule(format, like, refused);
        if (kept > 0 && like.frames % kept == 0) return format;
        last = subtype;
    }
    throw Failure(path + ": " + suffix + " does not take " + std::to_string(like.sample_rate) + " Hz with " +
                  std::to_string(like.channels) + " channels (" + takes(last, refused) + "); use .wav or .flac");
}

}  // namespace tool
