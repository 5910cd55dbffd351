// Denoise in an audio callback: callback BUNDLE < IN > OUT, raw float samples at the model's rate.
//
// A thread stands for a sound card: it calls `on_audio` every 5 ms, as PortAudio, JACK or PipeWire do. The
// callback never waits and never allocates: frcrn_live_exchange copies, a worker of libfrcrn runs the network.
#include <frcrn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

void check(frcrn_status status, const frcrn_error &error) {
    if (status == FRCRN_OK) return;
    std::fprintf(stderr, "%s\n", error.text);
    std::exit(2);
}

// What the sound card calls. With PortAudio this is the PaStreamCallback of Pa_OpenStream, and `live` its
// userData; with JACK the function of jack_set_process_callback, with the buffers of jack_port_get_buffer.
void on_audio(frcrn_live *live, const float *in, float *out, size_t n) { frcrn_live_exchange(live, in, out, n); }

// Blocks at the pace of a sound card, until the input has ended and its last sample has come out. A sound card
// would play everything, a constant time late; here the first `latency` samples are left out.
void run_sound_card(frcrn_live *live, size_t block, std::chrono::nanoseconds period) {
    const size_t latency = frcrn_live_latency(live);
    std::vector<float> in(block), out(block);
    size_t given = 0, played = 0;
    for (auto next = std::chrono::steady_clock::now(); played == 0 || played < given + latency; next += period) {
        std::this_thread::sleep_until(next);
        const size_t n = std::fread(in.data(), sizeof(float), block, stdin);
        std::fill(in.begin() + static_cast<std::ptrdiff_t>(n), in.end(), 0.0F);
        given += n;
        on_audio(live, in.data(), out.data(), block);
        const size_t begin = std::max(played, latency), end = std::min(played + block, given + latency);
        if (begin < end) std::fwrite(out.data() + (begin - played), sizeof(float), end - begin, stdout);
        played += block;
    }
}

}  // namespace

int main(int count, char **words) {
    if (count != 2) return std::fprintf(stderr, "usage: callback BUNDLE < IN > OUT\n"), 2;
    frcrn_error error;
    frcrn_model *model = nullptr;
    check(frcrn_model_open(words[1], nullptr, &model, &error), error);
    frcrn_model_info info = FRCRN_MODEL_INFO_INIT;
    check(frcrn_model_get_info(model, &info, &error), error);

    // At the rate of the sound card: here the model's. At another one: options.sample_rate = ...
    frcrn_stream_options options = FRCRN_STREAM_OPTIONS_INIT;
    options.sample_rate = info.sample_rate;
    frcrn_stream *stream = nullptr;
    check(frcrn_stream_create(model, &options, &stream, &error), error);

    const size_t block = info.sample_rate / 200;  // 5 ms
    frcrn_live_options live_options = FRCRN_LIVE_OPTIONS_INIT;
    live_options.max_block = block;
    live_options.margin = info.sample_rate / 20;  // 50 ms: an ordinary system may stop a thread for so long
    frcrn_live *live = nullptr;
    check(frcrn_live_start(stream, &live_options, &live, &error), error);

    std::thread sound_card(run_sound_card, live, block, std::chrono::milliseconds(5));
    // Any thread may change how much noise stays, while the callback runs: as a slider of a user interface.
    check(frcrn_live_set_attenuation_limit(live, 24.0), error);
    sound_card.join();

    std::fprintf(stderr, "latency %.1f ms, %llu samples late\n", 1000.0 * frcrn_live_latency(live) / info.sample_rate,
                 static_cast<unsigned long long>(frcrn_live_late_samples(live)));
    frcrn_live_stop(live);
    frcrn_stream_free(stream);
    frcrn_model_free(model);
    return 0;
}
