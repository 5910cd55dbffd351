// Standard input and output as streams of PCM; what is done goes out at once.
#pragma once

#include "pcm.h"

namespace tool {

// From now on Ctrl-C and SIGTERM end the input, so that what was read is still written; a second one ends the
// program.
void interrupts_end_input();

// Frames from standard input, in the format of its WAV header, or as given.
class PipeReader {
public:
    // `raw`: the format of raw PCM; NULL takes WAV and RF64 alone. Raises Failure.
    explicit PipeReader(const PcmSpec *raw);

    const PcmSpec &spec() const { return header_.spec; }
    bool is_wav() const { return is_wav_; }
    const WavHeader &header() const { return header_; }
    bool truncated() const { return truncated_; }  // in the middle of a frame, or of what the header says
    bool another() const { return another_; }      // a second WAV behind the first; it is not read

    // The whole frames that have arrived, at most `frames`; waits for one. Empty at the end.
    Bytes read(size_t frames);

private:
    WavHeader header_;
    bool is_wav_ = false, truncated_ = false, another_ = false;
    std::optional<uint64_t> missing_;  // bytes of samples, where the header says how many
    Bytes held_;                       // of an incomplete frame
};

// Frames to standard output, behind a WAV header where the input had one; it is corrected at the end where
// the output is a file. Raises Failure where writing fails.
class PipeWriter {
public:
    PipeWriter(const WavHeader &header, bool is_wav);

    bool broken() const { return broken_; }  // the reader has gone; nothing more is written
    size_t clipped() const { return clipped_; }
    void write(const std::vector<std::vector<float>> &channels, size_t n);
    void close();

private:
    void send(const Bytes &data);

    WavHeader header_;
    bool is_wav_, broken_ = false;
    size_t clipped_ = 0, header_bytes_ = 0;
    uint64_t written_ = 0;
};

}  // namespace tool
