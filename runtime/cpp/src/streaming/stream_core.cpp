#include "streaming/stream_core.h"

#include <algorithm>
#include <cstring>

namespace frcrn {
namespace {

constexpr size_t kAlignment = 64;

std::vector<int64_t> with_rows(size_t rows, const std::vector<int64_t> &row_shape) {
    std::vector<int64_t> shape{static_cast<int64_t>(rows)};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    return shape;
}

std::vector<int64_t> row_shape_of(const Tensor &tensor) { return {tensor.shape.begin() + 1, tensor.shape.end()}; }

}  // namespace

AlignedBytes::AlignedBytes(size_t bytes) : held_(new uint8_t[bytes + kAlignment]()) {
    const auto address = reinterpret_cast<uintptr_t>(held_.get());
    begin_ = held_.get() + (kAlignment - address % kAlignment);
}

StreamCore::StreamCore(std::shared_ptr<const Session> session, const File &file, size_t rows)
    : session_(std::move(session)),
      file_(file),
      rows_(rows_of(file, rows)),
      row_values_(static_cast<size_t>(file.inputs[0].row_values())),
      input_(rows_ * row_values_ * sizeof(float)),
      output_(rows_ * row_values_ * sizeof(float)),
      ends_(rows_ * sizeof(float)) {
    const OnnxRuntime &ort = session_->ort();
    options_ = made<OrtRunOptions>(ort, [&](auto **out) { return ort.api().CreateRunOptions(out); });
    ort.check(ort.api().RunOptionsSetRunLogSeverityLevel(options_.get(), ORT_LOGGING_LEVEL_FATAL));
    for (const State &state : file_.streaming->states) {
        state_bytes_ += state.row_bytes();
        for (auto &set : states_) set.emplace_back(rows_ * state.row_bytes());
    }
    for (size_t count = file_.engine ? rows_ : 1; count <= rows_; ++count)
        for (const size_t before : {0, 1}) bound_[before].push_back(bind(count, before));
    for (size_t row = 0; row < rows_; ++row) {
        reset(row);
        set_end(row, kUnknownEnd);
    }
}

size_t StreamCore::rows_of(const File &file, size_t rows) {
    if (!file.engine) return rows;
    const auto built = static_cast<size_t>(file.engine->rows());
    if (rows > built)
        throw Error(FRCRN_UNSUPPORTED,
                    file.path + " has " + std::to_string(built) + " rows, not " + std::to_string(rows));
    return built;
}

StreamCore::Bound StreamCore::bind(size_t rows, size_t before) {
    const OnnxRuntime &ort = session_->ort();
    const OrtApi &api = ort.api();
    Bound bound;
    bound.binding = made<OrtIoBinding>(ort, [&](auto **out) { return api.CreateIoBinding(session_->get(), out); });
    const auto value = [&](void *data, size_t bytes, const std::vector<int64_t> &row_shape, bool is_float) {
        const auto type = is_float ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
        bound.values.push_back(session_->tensor(data, bytes, with_rows(rows, row_shape), type));
        return bound.values.back().get();
    };
    const size_t bytes = rows * row_values_ * sizeof(float);
    const std::vector<int64_t> shape = row_shape_of(file_.inputs[0]);
    const Streaming &streaming = *file_.streaming;
    ort.check(
        api.BindInput(bound.binding.get(), file_.inputs[0].name.c_str(), value(input_.data(), bytes, shape, true)));
    ort.check(
        api.BindOutput(bound.binding.get(), file_.outputs[0].name.c_str(), value(output_.data(), bytes, shape, true)));
    if (!streaming.end.empty())
        ort.check(api.BindInput(bound.binding.get(), streaming.end.c_str(),
                                value(ends_.data(), rows * sizeof(float), {}, true)));
    for (size_t i = 0; i < streaming.states.size(); ++i) {
        const State &state = streaming.states[i];
        const bool is_float = state.dtype == "float32";
        const size_t state_bytes = rows * state.row_bytes();
        ort.check(api.BindInput(bound.binding.get(), state.name.c_str(),
                                value(states_[before][i].data(), state_bytes, state.row_shape, is_float)));
        ort.check(api.BindOutput(bound.binding.get(), state.next.c_str(),
                                 value(states_[1 - before][i].data(), state_bytes, state.row_shape, is_float)));
    }
    return bound;
}

void StreamCore::run(size_t rows) {
    const OnnxRuntime &ort = session_->ort();
    const Bound &bound = bound_[now_][file_.engine ? 0 : rows - 1];
    ort.check(ort.api().RunWithBinding(session_->get(), options_.get(), bound.binding.get()));
    now_ = 1 - now_;
}

uint8_t *StreamCore::state(size_t set, size_t index, size_t row) const {
    return states_[set][index].data() + row * file_.streaming->states[index].row_bytes();
}

void StreamCore::reset(size_t row) {
    const std::vector<State> &states = file_.streaming->states;
    for (size_t i = 0; i < states.size(); ++i) {
        uint8_t *begin = state(now_, i, row);
        if (states[i].dtype == "uint8") {
            std::memset(begin, static_cast<int>(states[i].initial), states[i].row_bytes());
        } else {
            auto *values = reinterpret_cast<float *>(begin);
            std::fill(values, values + states[i].row_values(), static_cast<float>(states[i].initial));
        }
    }
}

void StreamCore::save(size_t row, uint8_t *copy) const {
    for (size_t i = 0; i < states_[0].size(); ++i) {
        const size_t bytes = file_.streaming->states[i].row_bytes();
        std::memcpy(copy, state(now_, i, row), bytes);
        copy += bytes;
    }
}

void StreamCore::load(size_t row, const uint8_t *copy) {
    for (size_t i = 0; i < states_[0].size(); ++i) {
        const size_t bytes = file_.streaming->states[i].row_bytes();
        std::memcpy(state(now_, i, row), copy, bytes);
        copy += bytes;
    }
}

}  // namespace frcrn
