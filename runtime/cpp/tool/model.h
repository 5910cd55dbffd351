// A model and a stream of libfrcrn that free themselves and raise Failure.
#pragma once

#include <memory>
#include <string>

#include "failure.h"
#include "frcrn.h"
#include "options.h"

namespace tool {

// Raises Failure with the error's text, behind `name` where there is one, unless the status is FRCRN_OK.
void check(const frcrn_error &error, const std::string &name = "");

struct FreeModel {
    void operator()(frcrn_model *model) const { frcrn_model_free(model); }
};
struct FreeStream {
    void operator()(frcrn_stream *stream) const { frcrn_stream_free(stream); }
};
using Model = std::unique_ptr<frcrn_model, FreeModel>;
using Stream = std::unique_ptr<frcrn_stream, FreeStream>;

// The bundle that is the first operand, with the options of `model_options`.
Model open_model(const Arguments &arguments);
frcrn_model_info info_of(const Model &model);
Stream create_stream(const Model &model, const frcrn_stream_options &options);

// What audio of a higher rate loses, in words.
std::string band_loss(uint32_t model_rate);

// --attenuation-limit; negative without one.
double attenuation_limit(const Arguments &arguments);

}  // namespace tool
