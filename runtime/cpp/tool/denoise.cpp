// frcrn denoise: a recording, each channel by itself.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "audio_file.h"
#include "commands.h"
#include "json.h"
#include "model.h"

namespace tool {
namespace {

Options options() {
    return model_options() + audio_options() +
           Options{{"force", 'f', nullptr, "Replace OUT where it exists."},
                   {"json", 0, nullptr, "Print the result as JSON."}};
}

void check_output(const std::string &in, const std::string &out, bool force) {
    check_suffix(out);
    std::error_code none;
    if (std::filesystem::is_directory(out, none)) throw Failure(out + ": a folder; give a file");
    if (std::filesystem::equivalent(in, out, none)) throw Failure(out + ": the input itself; give another OUT");
    if (!force && std::filesystem::exists(std::filesystem::symlink_status(out, none)))
        throw Failure(out + ": exists; add --force to replace it");
}

// What of the input is not in the output, in words.
std::string losses_of(const Recording &recording, size_t clipped, uint32_t model_rate) {
    std::string losses = recording.loss;
    const auto add = [&](bool said, const std::string &text) {
        if (said) losses += (losses.empty() ? "" : "; ") + text;
    };
    add(recording.shape.sample_rate > static_cast<int>(model_rate), band_loss(model_rate));
    add(clipped > 0, std::to_string(clipped) + " samples clipped: the format ends at full scale");
    return losses;
}

int run(const Words &words) {
    const Arguments arguments("denoise", {"BUNDLE", "IN", "OUT"}, options(), words);
    const std::string &in = arguments.operand(1), &out = arguments.operand(2);
    const double limit = attenuation_limit(arguments);
    check_output(in, out, arguments.has("force"));
    const auto begin = std::chrono::steady_clock::now();
    Recording recording = read_recording(in);
    const int format = output_format(out, recording.shape);
    const Model model = open_model(arguments);
    frcrn_denoise_options settings = FRCRN_DENOISE_OPTIONS_INIT;
    settings.sample_rate = static_cast<uint32_t>(recording.shape.sample_rate);
    settings.keep_level = arguments.has("keep-level") ? 1 : 0;
    settings.attenuation_limit_db = limit;
    for (size_t i = 0; i < recording.channels.size(); ++i) {
        std::vector<float> &channel = recording.channels[i];
        frcrn_error error;
        frcrn_denoise(model.get(), channel.data(), channel.data(), channel.size(), &settings, &error);
        const bool of_audio = error.status == FRCRN_AUDIO;
        check(error, of_audio ? in + ", channel " + std::to_string(i) : "");
    }
    const size_t clipped = write_recording(out, recording, format);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const double seconds = static_cast<double>(recording.shape.frames) / recording.shape.sample_rate;
    const std::string losses = losses_of(recording, clipped, info_of(model).sample_rate);
    if (arguments.has("json")) {
        JsonObject result;
        result.add("output", json_text(out)).add("model", json_text(info_of(model).name));
        result.add("sample_rate", recording.shape.sample_rate).add("channels", recording.shape.channels);
        result.add("audio_seconds", seconds).add("seconds", took.count());
        result.add("real_time_factor", took.count() / seconds).add("losses", json_text(losses));
        std::printf("%s\n", result.text().c_str());
    } else {
        std::printf("%s: %.2f s in %.2f s, real-time factor %.3f\n", printable(out).c_str(), seconds, took.count(),
                    took.count() / seconds);
    }
    if (!losses.empty()) std::fprintf(stderr, "warning: %s: %s\n", printable(in).c_str(), losses.c_str());
    return 0;
}

}  // namespace

extern const Command kDenoise = {"denoise", "BUNDLE IN OUT", "Denoise an audio file; OUT's suffix decides its format.",
                                 run, [] { return help_of(options()); }};

}  // namespace tool
