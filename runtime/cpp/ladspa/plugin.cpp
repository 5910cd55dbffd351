// The LADSPA interface: frcrn_mono and frcrn_stereo.
#include <ladspa.h>

#include <array>
#include <exception>

#include "denoiser.h"

namespace {

using plugin::Denoiser;

// Ports behind the audio, which has inputs first.
enum Control { kLimit, kWait, kLatency, kActive, kControls };

constexpr LADSPA_PortDescriptor kAudioIn = LADSPA_PORT_INPUT | LADSPA_PORT_AUDIO;
constexpr LADSPA_PortDescriptor kAudioOut = LADSPA_PORT_OUTPUT | LADSPA_PORT_AUDIO;
constexpr LADSPA_PortDescriptor kControlIn = LADSPA_PORT_INPUT | LADSPA_PORT_CONTROL;
constexpr LADSPA_PortDescriptor kControlOut = LADSPA_PORT_OUTPUT | LADSPA_PORT_CONTROL;
constexpr LADSPA_PortRangeHint kAnything = {0, 0, 0};
constexpr LADSPA_PortRangeHint kDecibels = {
    LADSPA_HINT_BOUNDED_BELOW | LADSPA_HINT_BOUNDED_ABOVE | LADSPA_HINT_DEFAULT_MAXIMUM, 0, Denoiser::kNoLimit};
constexpr LADSPA_PortRangeHint kOn = {LADSPA_HINT_TOGGLED | LADSPA_HINT_DEFAULT_1, 0, 1};

template <size_t Channels>
struct Instance {
    explicit Instance(unsigned long sample_rate) : denoiser(Channels, sample_rate) {}

    LADSPA_Data control(Control which, LADSPA_Data otherwise) const {
        const LADSPA_Data *port = ports[2 * Channels + which];
        return port != nullptr ? *port : otherwise;
    }
    void show(Control which, LADSPA_Data value) const {
        if (ports[2 * Channels + which] != nullptr) *ports[2 * Channels + which] = value;
    }
    void run(unsigned long n) {
        const float *in[Channels];
        for (size_t c = 0; c < Channels; ++c) in[c] = ports[c];
        denoiser.limit(control(kLimit, Denoiser::kNoLimit));
        denoiser.run(in, ports.data() + Channels, n, control(kWait, 1) > 0);
        show(kLatency, static_cast<LADSPA_Data>(denoiser.latency()));
        show(kActive, denoiser.active() ? 1 : 0);
    }

    Denoiser denoiser;
    std::array<LADSPA_Data *, 2 * Channels + kControls> ports{};
};

template <size_t Channels>
Instance<Channels> &instance(LADSPA_Handle handle) {
    return *static_cast<Instance<Channels> *>(handle);
}

// No exception leaves the plugin: only memory can run out, and then there is no instance, or no worker.
template <size_t Channels>
LADSPA_Handle instantiate(const LADSPA_Descriptor *, unsigned long sample_rate) {
    try {
        return new Instance<Channels>(sample_rate);
    } catch (const std::exception &) {
        return nullptr;
    }
}

template <size_t Channels>
void activate(LADSPA_Handle handle) {
    try {
        instance<Channels>(handle).denoiser.activate();
    } catch (const std::exception &) {
        instance<Channels>(handle).denoiser.deactivate();
    }
}

template <size_t Channels>
LADSPA_Descriptor describe(unsigned long id, const char *label, const char *name, const LADSPA_PortDescriptor *ports,
                           const char *const *names, const LADSPA_PortRangeHint *hints) {
    LADSPA_Descriptor found{};
    found.UniqueID = id;
    found.Label = label;
    found.Name = name;
    found.Maker = "frcrn-export maintainers";
    found.Copyright = "Apache-2.0";
    found.PortCount = 2 * Channels + kControls;
    found.PortDescriptors = ports;
    found.PortNames = names;
    found.PortRangeHints = hints;
    found.instantiate = instantiate<Channels>;
    found.connect_port = [](LADSPA_Handle handle, unsigned long port, LADSPA_Data *place) {
        if (port < instance<Channels>(handle).ports.size()) instance<Channels>(handle).ports[port] = place;
    };
    found.activate = activate<Channels>;
    found.run = [](LADSPA_Handle handle, unsigned long n) { instance<Channels>(handle).run(n); };
    found.deactivate = [](LADSPA_Handle handle) { instance<Channels>(handle).denoiser.deactivate(); };
    found.cleanup = [](LADSPA_Handle handle) { delete &instance<Channels>(handle); };
    return found;
}

#define FRCRN_CONTROL_NAMES "Attenuation limit (dB)", "Wait for the worker", "latency", "active"

const LADSPA_Descriptor &mono() {
    static const LADSPA_PortDescriptor ports[] = {kAudioIn,   kAudioOut,   kControlIn,
                                                  kControlIn, kControlOut, kControlOut};
    static const char *const names[] = {"Input", "Output", FRCRN_CONTROL_NAMES};
    static const LADSPA_PortRangeHint hints[] = {kAnything, kAnything, kDecibels, kOn, kAnything, kAnything};
    static const LADSPA_Descriptor found =
        describe<1>(4608590, "frcrn_mono", "FRCRN noise suppression (mono)", ports, names, hints);
    return found;
}

const LADSPA_Descriptor &stereo() {
    static const LADSPA_PortDescriptor ports[] = {kAudioIn,   kAudioIn,   kAudioOut,   kAudioOut,
                                                  kControlIn, kControlIn, kControlOut, kControlOut};
    static const char *const names[] = {"Input (left)", "Input (right)", "Output (left)", "Output (right)",
                                        FRCRN_CONTROL_NAMES};
    static const LADSPA_PortRangeHint hints[] = {kAnything, kAnything, kAnything, kAnything,
                                                 kDecibels, kOn,       kAnything, kAnything};
    static const LADSPA_Descriptor found =
        describe<2>(4608591, "frcrn_stereo", "FRCRN noise suppression (stereo)", ports, names, hints);
    return found;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const LADSPA_Descriptor *ladspa_descriptor(unsigned long index) {
    return index == 0 ? &mono() : index == 1 ? &stereo() : nullptr;
}
