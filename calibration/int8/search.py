"""The layers that an INT8 file has in INT8: all that can, or as many as the gates let pass."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from frcrn_export.calibration.int8.gates import passed
from frcrn_export.calibration.int8.layers import Layer
from frcrn_export.calibration.int8.scores import Judge, Quality
from frcrn_export.calibration.int8.sensitivity import (
    Damages,
    damages_file,
    measure_damages,
    return_order,
    search,
)
from frcrn_export.runtime.manifest import GateResult

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Point:
    """Layers in INT8, their quality, and whether it passed the gates."""

    layers: frozenset[str]
    quality: Quality
    passed: bool


@dataclass(frozen=True)
class Search:
    """What was found, and all that was tried on the way; `damages` as in sensitivity.py."""

    points: Sequence[Point]
    damages: Mapping[str, float] = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """In INT8; the best that passed, which the last point is, or all if nothing was tried."""
        return self.points[-1].layers

    @property
    def quality(self) -> Quality:
        """Of these layers."""
        return self.points[-1].quality


def find_layers(
    layers: Sequence[Layer],
    quantized: Callable[[Collection[str]], bytes],
    judge: Judge,
    gates_of: Callable[[Quality], Sequence[GateResult]],
    *,
    auto: bool,
    damage_judge: Callable[[], AbstractContextManager[Judge]],
    seconds: float,
    progress: Progress = lambda phase, done, steps: None,
) -> Search:
    """All layers; with `auto`, where their quality fails the gates, as many as pass.

    `quantized` makes a file with given layers in INT8, `judge` hears all clips, and `damage_judge`
    opens one of fewer clips for the damage of each layer, which may take `seconds` in all.
    """
    points: list[Point] = []

    def passes(names: frozenset[str]) -> bool:
        quality = judge(quantized(names), progress=progress)
        points.append(Point(names, quality, passed(gates_of(quality))))
        return points[-1].passed

    everything = frozenset(layer.name for layer in layers)
    if passes(everything) or not auto:
        return Search(points)
    damages = Damages(damages_file(quantized(everything), *_recordings(judge)))
    with damage_judge() as quick:

        def snr_of(names: Collection[str]) -> float:
            return quick(quantized(names), scored=False).mean_core_snr_db or 0.0

        measure_damages(layers, snr_of, damages, seconds, progress)
    trials = search(return_order(layers, damages.values), passes, progress)
    best = next((point for point in points if point.layers == trials[-1].layers), points[0])
    ordered = [*(point for point in points if point is not best), best]
    return Search(ordered, damages.values)


def _recordings(judge: Judge) -> list[bytes]:
    return [clip.noisy.tobytes() for clip in judge.clips]
