#include "model.h"

#include <cstdio>

namespace tool {

void check(const frcrn_error &error, const std::string &name) {
    if (error.status == FRCRN_OK) return;
    const std::string text = name.empty() ? error.text : name + ": " + error.text;
    const bool is_ours = error.status == FRCRN_CHECK_FAILED || error.status == FRCRN_INTERNAL;
    throw Failure(text, is_ours ? kCheckFailed : kUserError);
}

Model open_model(const Arguments &arguments) {
    frcrn_model_options options = FRCRN_MODEL_OPTIONS_INIT;
    options.onnxruntime = arguments.text("onnxruntime");
    options.provider = arguments.text("provider");
    options.provider_library = arguments.text("provider-library");
    options.precision = arguments.text("precision");
    options.threads = options.stream_threads = static_cast<int>(arguments.integer("threads", 0, 1, 4096));
    if (arguments.has("high-pass")) options.high_pass = 1;
    if (arguments.has("no-high-pass")) options.high_pass = 0;
    frcrn_model *model = nullptr;
    frcrn_error error;
    frcrn_model_open(arguments.operand(0).c_str(), &options, &model, &error);
    check(error);
    return Model(model);
}

frcrn_model_info info_of(const Model &model) {
    frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
    frcrn_error error;
    frcrn_model_get_info(model.get(), &info, &error);
    check(error);
    return info;
}

Stream create_stream(const Model &model, const frcrn_stream_options &options) {
    frcrn_stream *stream = nullptr;
    frcrn_error error;
    frcrn_stream_create(model.get(), &options, &stream, &error);
    check(error);
    return Stream(stream);
}

std::string band_loss(uint32_t model_rate) {
    char text[60];
    std::snprintf(text, sizeof text, "the band above %g kHz is gone", model_rate / 2000.0);
    return text;
}

double attenuation_limit(const Arguments &arguments) { return arguments.number("attenuation-limit", -1.0, 0.0, 1e6); }

}  // namespace tool
