"""SI-SDR improvement of a wave-unet-16k checkpoint over noisy/clean pairs, and its speed.

    python benchmarks/si_sdr.py PAIRS [--checkpoint FILE] [--json OUT]

PAIRS holds NAME.noisy.flac and NAME.clean.flac at 16 kHz. The reference network runs in PyTorch on
one thread, with the pipeline's peak normalisation. Groups are what NAME begins with, up to `_`.
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import soundfile
import torch
from safetensors import safe_open

from frcrn_export.exporters.networks.wave_unet import WaveUNet, config_from_state_dict
from frcrn_export.exporters.training.data import FloatArray
from frcrn_export.runtime.signals import si_sdr_db

ROOT = Path(__file__).resolve().parent
DEFAULT_CHECKPOINT = ROOT.parent / "exporters" / "assets" / "wave-unet-16k.safetensors"
SAMPLE_RATE = 16_000  # Hz


@dataclass(frozen=True)
class Clip:
    """One pair: SI-SDR in dB before and after, and seconds to compute a second of audio."""

    name: str
    seconds: float
    before: float
    after: float
    real_time_factor: float

    @property
    def group(self) -> str:
        return self.name.split("_")[0]

    @property
    def gain(self) -> float:
        return self.after - self.before


def load(checkpoint: Path) -> WaveUNet:
    """The network with the weights of a safetensors file."""
    with safe_open(checkpoint, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = WaveUNet(config_from_state_dict(state, file.metadata()))
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def denoise(network: WaveUNet, noisy: FloatArray) -> FloatArray:
    """[N] to [N]: divided by the peak, padded to a hop, enhanced, cut, multiplied back."""
    peak = float(np.abs(noisy).max()) or 1.0
    wave = torch.from_numpy(noisy / peak)
    padded = torch.nn.functional.pad(wave, (0, -len(noisy) % network.hop))
    enhanced: FloatArray = network(padded[None, None])[0, 0, : len(noisy)].numpy()
    return enhanced * np.float32(peak)


def measure(network: WaveUNet, folder: Path) -> list[Clip]:
    """Every pair of the folder, by name."""
    clips = []
    for path in sorted(folder.glob("*.noisy.flac")):
        name = path.name.removesuffix(".noisy.flac")
        noisy, rate = soundfile.read(path, dtype="float32")
        clean, _ = soundfile.read(folder / f"{name}.clean.flac", dtype="float32")
        if rate != SAMPLE_RATE:
            raise SystemExit(f"{path} has {rate} Hz; resample it to {SAMPLE_RATE}")
        denoise(network, noisy)
        started = time.perf_counter()
        enhanced = denoise(network, noisy)
        seconds = time.perf_counter() - started
        clips.append(
            Clip(
                name=name,
                seconds=len(noisy) / rate,
                before=si_sdr_db(clean, noisy),
                after=si_sdr_db(clean, enhanced),
                real_time_factor=seconds * rate / len(noisy),
            )
        )
    if not clips:
        raise SystemExit(f"{folder} holds no NAME.noisy.flac")
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "si_sdr.json")
    args = parser.parse_args()

    torch.set_num_threads(1)
    network = load(args.checkpoint)
    clips = measure(network, args.pairs)

    groups = defaultdict(list)
    for clip in clips:
        groups[clip.group].append(clip)
        print(f"{clip.name:40} {clip.before:7.2f} -> {clip.after:6.2f} dB  {clip.gain:+6.2f}")
    summary = {
        group: {"clips": len(members), "mean_improvement_db": mean(clip.gain for clip in members)}
        for group, members in groups.items()
    }
    for group, values in summary.items():
        print(f"{group:8} {values['clips']:3} clips, mean {values['mean_improvement_db']:+.2f} dB")
    factor = sorted(clip.real_time_factor for clip in clips)[len(clips) // 2]
    print(f"real-time factor on one thread, median: {factor:.4f}")

    args.json.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "checkpoint": args.checkpoint.name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "groups": summary,
        "median_real_time_factor": factor,
        "clips": [{**asdict(clip), "improvement": clip.gain} for clip in clips],
    }
    args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
