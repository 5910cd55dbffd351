"""Ten hours of audio through one stream, as fast as it goes: memory, drift, finite output.

    python benchmarks/soak.py [--hours 10]

The same 64 s again and again, which are a whole number of calls and of the level's seconds. Their
output in the last minutes is compared with that of a stream ten minutes old: what drifts would
differ. wave-unet-16k as packaged, and FRCRN with 8 channels instead of 128 (random weights, means
over all frames so far): the layers, states and counters of the full network at a fiftieth of its
work. Writes results/soak.json.
"""

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
import torch
from machine import write

from frcrn_export.exporters.assets import DEMO_NOISY
from frcrn_export.exporters.bundle import export_onnx
from frcrn_export.exporters.families.frcrn.lowered import lower_frcrn
from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.streaming_export import StreamingOptions
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.streaming import StreamingDenoiser

RATE = 16000
PERIOD = 64 * RATE
YOUNG = 10  # periods, after which a stream is ten minutes old
CHUNK = 16  # hops a call


def small_frcrn() -> LoadedModel:
    model = load_model("frcrn-16k", seed=0, options={"squeeze_excite": "cumulative"})
    assert isinstance(model.network, FRCRN)
    torch.manual_seed(0)
    network = FRCRN(replace(model.network.config, channels=8, fsmn_hidden=8)).eval()
    return replace(model, network=network, lowered=lower_frcrn(network))


def audio() -> np.ndarray[Any, Any]:
    """64 s of speech in noise that swells, from -20 dB to its own level."""
    demo, _ = soundfile.read(DEMO_NOISY, dtype="float32")
    swell = 0.55 + 0.45 * np.sin(np.arange(PERIOD) * (2 * np.pi / PERIOD))
    wave: np.ndarray[Any, Any] = (np.resize(demo, PERIOD) * swell).astype(np.float32)
    return wave


def soak(bundle: Path, hours: float) -> dict[str, Any]:
    denoiser = StreamingDenoiser.open(bundle, "onnxruntime-cpu", threads=1)
    wave, call = audio(), denoiser.latency.chunk
    periods = max(YOUNG + 2, math.ceil(hours * 3600 * RATE / PERIOD))
    process, resident, finite = psutil.Process(), [], True
    young = last = np.empty(0, np.float32)
    started = time.perf_counter()
    for index in range(periods):
        last = np.concatenate(
            [denoiser.process(wave[at : at + call]) for at in range(0, PERIOD, call)]
        )
        finite &= bool(np.isfinite(last).all())
        if index == YOUNG:
            young = last
        if index >= YOUNG:
            resident.append(process.memory_info().rss / 1e6)
    return {
        "hours": periods * PERIOD / RATE / 3600,
        "seconds": time.perf_counter() - started,
        "memory_mb": {"young": resident[0], "least": min(resident), "most": max(resident)},
        "finite": finite,
        "snr_of_last_against_young_db": min(300.0, float(snr_db(young, last))),  # 300: equal
        "rms": {"young": float(young.std()), "last": float(last.std())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    models = {
        "wave-unet-16k": lambda: load_model("wave-unet-16k"),
        "frcrn-16k, 8 channels": small_frcrn,
    }
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, load) in enumerate(models.items()):
            path = Path(folder) / str(number)
            export_onnx(load(), path, streaming=StreamingOptions(chunk=CHUNK))
            results[name] = found = soak(path, arguments.hours)
            memory, snr = found["memory_mb"], found["snr_of_last_against_young_db"]
            print(
                f"{name}: {found['hours']:.1f} h in {found['seconds']:.0f} s, memory "
                f"{memory['least']:.1f} to {memory['most']:.1f} MB, finite: {found['finite']}, "
                f"the last minute against one ten minutes old: {snr:.1f} dB",
                flush=True,
            )
    print(write("soak", {"streams": results}))


if __name__ == "__main__":
    main()
