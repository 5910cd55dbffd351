"""The cost of reduced look-ahead and causal squeeze-and-excitation for FRCRN, on real speech.

    python benchmarks/lookahead.py [--checkpoint FILE] [--order]

SNR of the streaming core at every look-ahead against the full look-ahead, and of each kind of
squeeze-and-excitation against the mean over the whole utterance. `--order` also searches for the
order in which decoders should give up their future frame, the least harmful first. Writes
results/lookahead.json and docs/lookahead.png.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS, write

from frcrn_export.exporters.assets import DEMO_NOISY, SPEECH
from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.families.frcrn.streaming import Ahead, decoders_ahead, stream_with
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.reference import level_gain
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.exporters.streaming_core import run_streaming
from frcrn_export.runtime.audio.measures import snr_db

MODEL = "frcrn-16k"
KINDS = ("cumulative", "window:5", "window:2", "window:1")
DRAWN = ("cumulative", "window:2")  # at every look-ahead
PICTURE = RESULTS.parent.parent / "docs" / "lookahead.png"
SECONDS = 2.4
SEARCH_SECONDS = 1.5


class Evaluator:
    """Runs one network over the clips, as a stream with some decoders ahead."""

    def __init__(self, kind: str, checkpoint: Path | None, seed: int, seconds: float) -> None:
        model = load_model(
            MODEL,
            checkpoint,
            seed=None if checkpoint else seed,
            options={"squeeze_excite": kind},
        )
        assert isinstance(model.network, FRCRN)
        assert model.spec.stft is not None
        self.network = model.network
        self.synthesis = StftSynthesis(model.spec.stft)
        analysis = StftAnalysis(model.spec.stft)
        self.clips = [analysis(wave[None]) for wave in _clips(seconds)]  # [1, 2, F, T]
        with torch.inference_mode():
            self.reference = [self.wave(self.network(clip)) for clip in self.clips]

    def wave(self, spec: torch.Tensor) -> np.ndarray[Any, Any]:
        samples: np.ndarray[Any, Any] = self.synthesis(spec).numpy()
        return samples

    def snr(self, ahead: Ahead) -> float:
        """SNR in dB against the whole look-ahead, the mean of the clips."""
        longest = max(clip.shape[3] for clip in self.clips)
        core = stream_with(self.network, longest + sum(map(sum, ahead)), ahead)  # in one call
        with torch.inference_mode():
            outputs = [self.wave(run_streaming(core, clip)) for clip in self.clips]
        return _snr(self.reference, outputs)


def _snr(expected: list[Any], got: list[Any]) -> float:
    return float(np.mean([snr_db(*pair) for pair in zip(expected, got, strict=True)]))


def _clips(seconds: float) -> list[torch.Tensor]:
    import soundfile

    waves = (torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in (SPEECH, DEMO_NOISY))
    return [wave[: round(seconds * 16000)] * level_gain(wave, "active_rms", 1e-6) for wave in waves]


def search(evaluator: Evaluator) -> list[dict[str, Any]]:
    """Take the look-ahead from one decoder after another, each time the least harmful."""
    depth = evaluator.network.config.depth
    waiting = {(unet, decoder) for unet in (0, 1) for decoder in range(depth)}
    steps = []
    while waiting:
        found = {gone: evaluator.snr(_ahead(depth, waiting - {gone})) for gone in sorted(waiting)}
        gone = max(found, key=lambda key: found[key])
        waiting.remove(gone)
        steps.append({"lookahead": len(waiting), "gives up": gone, "snr_db": found[gone]})
        print(
            f"  {len(waiting):2d}  U-Net {gone[0]} decoder {gone[1]}  {found[gone]:6.1f} dB",
            flush=True,
        )
    return steps


def _ahead(depth: int, waiting: set[tuple[int, int]]) -> Ahead:
    first, second = (tuple((u, d) in waiting for d in range(depth)) for u in (0, 1))
    return first, second


def draw(curves: dict[str, list[float]], kinds: dict[str, float]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    for kind, curve in curves.items():
        left.plot(range(len(curve)), curve, marker=".", label=kind)
    left.set(xlabel="look-ahead in frames of 20 ms", ylabel="SNR in dB", ylim=(0, None))
    left.set_title("against the full look-ahead (14, exact)", fontsize="medium")
    left.legend(title="squeeze-and-excitation")
    left.grid(alpha=0.3)
    right.bar(list(kinds), list(kinds.values()))
    right.set_title("against the whole utterance", fontsize="medium")
    right.tick_params(axis="x", rotation=30)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="instead of random weights")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--order", action="store_true", help="search for the order as well")
    arguments = parser.parse_args()

    source = (arguments.checkpoint, arguments.seed)
    order = search(Evaluator(KINDS[0], *source, SEARCH_SECONDS)) if arguments.order else []
    whole = Evaluator("global", *source, SECONDS).reference
    curves, kinds = {}, {}
    for kind in KINDS:
        evaluator = Evaluator(kind, *source, SECONDS)
        kinds[kind] = _snr(whole, evaluator.reference)
        print(f"{kind}: {kinds[kind]:.1f} dB against the whole utterance")
        if kind not in DRAWN:
            continue
        depth = evaluator.network.config.depth
        # Full look-ahead is equal to the last bits; it has no place on the curve.
        curves[kind] = [evaluator.snr(decoders_ahead(depth, count)) for count in range(2 * depth)]
        print("  " + "  ".join(f"{n}: {snr:.1f}" for n, snr in enumerate(curves[kind])))
    draw(curves, kinds)
    weights = str(arguments.checkpoint or f"random, seed {arguments.seed}")
    result = {"weights": weights, "snr_db": curves, "against_global_db": kinds, "order": order}
    print(write("lookahead", result))


if __name__ == "__main__":
    main()
