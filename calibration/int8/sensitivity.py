"""Which layers INT8 hurts, and which of them to give back so that the quality passes.

First every layer alone in INT8 is heard against float: its damage. Then layers go back to float in
the order of their damage for the work that they would do in INT8, as many as it takes: how many
is found by halving. What was measured is kept, so that an interrupted search goes on where it was.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic

import msgspec

from frcrn_export.calibration.int8.layers import Layer
from frcrn_export.runtime.cache import cache_dir
from frcrn_export.runtime.staging import replace_file

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trial:
    """A choice of layers in INT8, and whether its quality passed."""

    layers: frozenset[str]
    passed: bool


@dataclass
class Damages:
    """The core's SNR in dB with one layer alone in INT8, by the layer's name; kept in a file."""

    path: Path
    values: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.values.update(msgspec.json.decode(self.path.read_bytes(), type=dict[str, float]))
        except (OSError, msgspec.MsgspecError):
            return  # nothing was measured yet, or nothing that can be read

    def add(self, layer: str, snr_db: float) -> None:
        """Keep one more."""
        self.values[layer] = snr_db
        replace_file(self.path, msgspec.json.encode(self.values))


def damages_file(*parts: bytes) -> Path:
    """Where the damages are kept of what these parts decide: model, ranges, recordings."""
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return cache_dir() / "sensitivity" / f"{key}.json"


def measure_damages(
    layers: Sequence[Layer],
    snr_of: Callable[[Collection[str]], float],
    damages: Damages,
    seconds: float,
    progress: Progress = lambda phase, done, steps: None,
) -> bool:
    """Measure each layer that has no damage yet, those with the most work first.

    `snr_of` says in dB how near the core comes to float with these layers in INT8. Returns whether
    all are measured; False after `seconds`, the rest being for another time.
    """
    started = monotonic()
    for done, layer in enumerate(sorted(layers, key=lambda each: -each.multiplications)):
        progress(f"alone in INT8: {layer.name}", done, len(layers))
        if layer.name in damages.values:
            continue
        if monotonic() - started > seconds:
            return False
        damages.add(layer.name, snr_of([layer.name]))
    return True


def return_order(layers: Sequence[Layer], damages: Mapping[str, float]) -> list[str]:
    """The layers in the order in which they go back to float.

    That of the noise that they make for the work that INT8 does there; those that were not measured
    are taken to make as much as the median of the others.
    """
    noise = {name: 10.0 ** (-snr / 10.0) for name, snr in damages.items()}
    usual = median(noise.values()) if noise else 1.0

    def cost(layer: Layer) -> float:
        made: float = noise.get(layer.name, usual)
        return made / max(layer.multiplications, 1)

    return [layer.name for layer in sorted(layers, key=cost, reverse=True)]


def search(
    order: Sequence[str],
    passes: Callable[[frozenset[str]], bool],
    progress: Progress = lambda phase, done, steps: None,
) -> list[Trial]:
    """Give back as few layers of `order` as it takes to pass; every trial, the best one last.

    With all layers in INT8 (already known to fail) and none in INT8 (float, which passes) at the
    ends, the number of layers to give back is halved down. The last trial is the one to take: its
    layers are empty where nothing in INT8 passes.
    """
    trials: list[Trial] = []
    failing, passing = 0, len(order)
    best = Trial(frozenset(), passed=True)
    steps = max(1, len(order).bit_length())
    while passing - failing > 1:
        back = (failing + passing) // 2
        progress(f"{back} layers back in float", len(trials), steps)
        trial = Trial(frozenset(order[back:]), passes(frozenset(order[back:])))
        trials.append(trial)
        if trial.passed:
            passing, best = back, trial
        else:
            failing = back
    return [*(trial for trial in trials if trial is not best), best]
