// frcrn info: what a bundle is and what it can do here.
#include <cstdio>

#include "commands.h"
#include "json.h"
#include "model.h"

namespace tool {
namespace {

Options options() { return model_options() + Options{{"json", 0, nullptr, "Print it as JSON."}}; }

void print_json(const frcrn_model_info &info) {
    JsonObject result;
    result.add("model", json_text(info.name)).add("licence", json_text(info.licence));
    result.add("attribution", json_text(info.attribution)).add("onnxruntime", json_text(info.onnxruntime));
    result.add("random_weights", json_flag(info.random_weights != 0)).add("sample_rate", info.sample_rate);
    result.add("offline", json_flag(info.offline != 0)).add("streaming", json_flag(info.streaming != 0));
    result.add("chunk", info.chunk).add("window", info.window).add("lookahead", info.lookahead);
    result.add("latency", info.latency);
    std::printf("%s\n", result.text().c_str());
}

void print_lines(const frcrn_model_info &info) {
    const std::string licence = info.licence[0] != '\0' ? info.licence : "not known";
    std::printf("Model         %s\n", printable(info.name).c_str());
    std::printf("Weights       %s, licence: %s\n", info.random_weights != 0 ? "random, never trained" : "trained",
                printable(licence).c_str());
    if (info.attribution[0] != '\0') std::printf("Attribution   %s\n", printable(info.attribution).c_str());
    std::printf("Sample rate   %u Hz\n", info.sample_rate);
    std::printf("Recordings    %s\n", info.offline != 0 ? "yes" : "no");
    if (info.streaming != 0)
        std::printf("Streams       yes, latency %.1f ms (%u samples: chunk %u, window %u, look-ahead %u)\n",
                    1000.0 * info.latency / info.sample_rate, info.latency, info.chunk, info.window, info.lookahead);
    else
        std::printf("Streams       no\n");
    std::printf("ONNX Runtime  %s\n", printable(info.onnxruntime).c_str());
}

int run(const Words &words) {
    const Arguments arguments("info", {"BUNDLE"}, options(), words);
    const Model model = open_model(arguments);
    if (arguments.has("json"))
        print_json(info_of(model));
    else
        print_lines(info_of(model));
    return 0;
}

}  // namespace

extern const Command kInfo = {"info", "BUNDLE", "Show what a bundle is, and what it can do here.", run,
                              [] { return help_of(options()); }};

}  // namespace tool
