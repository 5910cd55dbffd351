// Audio files through libsndfile: read whole, written under another name first.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "audio_format.h"

namespace tool {

// libsndfile's strings (title, artist, ...), and the chunk `bext` of a broadcast WAV.
struct Tags {
    std::map<int, std::string> strings;
    std::vector<char> broadcast;
};

struct Recording {
    AudioShape shape;
    std::vector<std::vector<float>> channels;  // [C][N]
    Tags tags;
    std::string loss;  // what of the file is not in the samples, in words
};

// Raises Failure where the file is missing, not audio, without samples, or of an impossible rate.
Recording read_recording(const std::string &path);

// Write the samples of a recording as `format`; nothing half-written stays. Integers are rounded, and clipped
// at full scale. Gives the number of samples that were clipped. Raises Failure.
size_t write_recording(const std::string &path, const Recording &recording, int format);

}  // namespace tool
