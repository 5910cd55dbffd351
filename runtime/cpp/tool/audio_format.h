// Which container and subtype an output gets: the suffix decides, and the input's depth is kept.
#pragma once

#include <cstdint>
#include <string>

namespace tool {

// What a new file has of the input: format is libsndfile's number, container and subtype.
struct AudioShape {
    int format = 0, sample_rate = 0, channels = 0;
    int64_t frames = 0;
};

// Raises Failure where no audio can be written under this name.
void check_suffix(const std::string &path);

// The format of a new file for audio of this shape. The subtype is kept within a family of containers where
// the container can hold it; else it is the first of 16, 24, 32 bits, float and double that loses no depth,
// or the deepest there is. WAV beyond 4 GiB becomes RF64. Raises Failure where the codec refuses the rate or
// the channels, or the container is too small.
int output_format(const std::string &path, const AudioShape &like);

}  // namespace tool
