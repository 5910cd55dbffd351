"""What a file has in 8 bits: all that can be, or as much as the gates let pass."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from frcrn_export.calibration.acceptance import passed
from frcrn_export.calibration.progress import Progress
from frcrn_export.calibration.quality_scores import Judge, Quality
from frcrn_export.calibration.sensitivity import (
    Candidate,
    Damages,
    damages_file,
    measure_damages,
    return_order,
    search,
)
from frcrn_export.runtime.bundle.manifest import GateResult

SnrOf = Callable[[Collection[str]], float]  # of the core with these names in 8 bits, in dB


@dataclass(frozen=True)
class Point:
    """The names of candidates in 8 bits, their quality, and whether it passed the gates."""

    names: frozenset[str]
    quality: Quality
    passed: bool


@dataclass(frozen=True)
class Search:
    """What was found, and all that was tried on the way; `damages` as in sensitivity.py."""

    points: Sequence[Point]
    damages: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """In 8 bits; the best that passed, which the last point is, or all if nothing was tried."""
        return self.points[-1].names

    @property
    def quality(self) -> Quality:
        """Of these."""
        return self.points[-1].quality


def find_names(
    candidates: Sequence[Candidate],
    quantized: Callable[[Collection[str]], bytes],
    judge: Judge,
    gates_of: Callable[[Quality], Sequence[GateResult]],
    *,
    auto: bool,
    damage_meter: Callable[[], AbstractContextManager[SnrOf]],
    seconds: float,
    progress: Progress = lambda phase, done, steps: None,
) -> Search:
    """All candidates; with `auto`, where their quality fails the gates, as many as pass.

    `quantized` makes a file with those of given names in 8 bits, `judge` hears all clips, and
    `damage_meter` opens what measures the damage of each, which may take `seconds` in all.
    """
    points: list[Point] = []

    def passes(names: frozenset[str]) -> bool:
        quality = judge(quantized(names), progress=progress)
        points.append(Point(names, quality, passed(gates_of(quality))))
        return points[-1].passed

    everything = frozenset(candidate.name for candidate in candidates)
    if passes(everything) or not auto:
        return Search(points)
    damages = Damages(damages_file(quantized(everything), *_recordings(judge)))
    with damage_meter() as snr_of:
        measure_damages(candidates, snr_of, damages, seconds, progress)
    trials = search(return_order(candidates, damages.values), passes, progress)
    best = next((point for point in points if point.names == trials[-1].names), points[0])
    ordered = [*(point for point in points if point is not best), best]
    return Search(ordered, damages.values)


def _recordings(judge: Judge) -> list[bytes]:
    return [clip.noisy.tobytes() for clip in judge.clips]
