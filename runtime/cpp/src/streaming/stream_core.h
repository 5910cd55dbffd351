// A streaming core with the states of some streams, one row each. Not for several threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bundle/manifest.h"
#include "sessions/session.h"

namespace frcrn {

// Memory that begins where the processor's widest loads may.
class AlignedBytes {
public:
    AlignedBytes() = default;
    explicit AlignedBytes(size_t bytes);
    uint8_t *data() const { return begin_; }

private:
    std::unique_ptr<uint8_t[]> held_;
    uint8_t *begin_ = nullptr;
};

// Two sets of states: a call reads one and writes the other. All is bound once for each number of rows,
// so a call allocates nothing here. An engine has the rows that it was built with: all of them run in each
// call, used or not.
class StreamCore {
public:
    // Raises Error(FRCRN_UNSUPPORTED) for more rows than an engine has.
    StreamCore(std::shared_ptr<const Session> session, const File &file, size_t rows);

    // The input and output of a row: [bins, frames] planes, or samples.
    float *input(size_t row) { return inputs() + row * row_values_; }
    float *output(size_t row) { return outputs() + row * row_values_; }
    size_t row_values() const { return row_values_; }
    // The number of frames of the row's stream, kUnknownEnd while unknown.
    void set_end(size_t row, int64_t end) { ends()[row] = static_cast<float>(end); }

    // One call for the first `rows` rows. Raises Error(FRCRN_BACKEND).
    void run(size_t rows);

    // The initial states, of a row.
    void reset(size_t row);

    // Move a row's states out and in; a copy is state_bytes() long.
    size_t state_bytes() const { return state_bytes_; }
    void save(size_t row, uint8_t *copy) const;
    void load(size_t row, const uint8_t *copy);

private:
    struct Bound {
        std::vector<Owned<OrtValue>> values;
        Owned<OrtIoBinding> binding;
    };

    float *inputs() { return reinterpret_cast<float *>(input_.data()); }
    float *outputs() { return reinterpret_cast<float *>(output_.data()); }
    float *ends() { return reinterpret_cast<float *>(ends_.data()); }
    Bound bind(size_t rows, size_t before);
    static size_t rows_of(const File &file, size_t rows);
    uint8_t *state(size_t set, size_t index, size_t row) const;

    std::shared_ptr<const Session> session_;
    Owned<OrtRunOptions> options_;
    const File file_;
    const size_t rows_;
    size_t row_values_, state_bytes_ = 0;
    AlignedBytes input_, output_, ends_;
    std::vector<AlignedBytes> states_[2];
    std::vector<Bound> bound_[2];  // by the set that is read; of 1, 2, ... rows, or of an engine's
    size_t now_ = 0;
};

}  // namespace frcrn
