"""The search for what computes in 8 bits: all candidates, or as many as pass the gates."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Protocol

import msgspec

from frcrn_export.calibration.int8_gates import passed
from frcrn_export.calibration.quality_scores import Evaluator, Quality
from frcrn_export.calibration.settings import Progress
from frcrn_export.exporters.bisection import fewest
from frcrn_export.runtime.bundle.manifest import GateResult
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.cache import cache_dir


class Candidate(Protocol):
    """A layer or signal that can be in 8 bits; `work` is what that saves."""

    @property
    def name(self) -> str: ...

    @property
    def work(self) -> int: ...


@dataclass(frozen=True)
class Trial:
    """The names in 8 bits, and whether the quality passed."""

    names: frozenset[str]
    passed: bool


@dataclass
class Sensitivities:
    """The core's SNR in dB with one candidate alone in 8 bits, by its name; kept in a file."""

    path: Path
    values: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.values.update(msgspec.json.decode(self.path.read_bytes(), type=dict[str, float]))
        except (OSError, msgspec.MsgspecError):
            return  # nothing measured yet, or not readable

    def add(self, name: str, snr_db: float) -> None:
        """Store a sensitivity."""
        self.values[name] = snr_db
        replace_file(self.path, msgspec.json.encode(self.values))


def sensitivities_file(*parts: bytes) -> Path:
    """The cache file of sensitivities for these model, ranges and recordings."""
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return cache_dir() / "sensitivity" / f"{key}.json"


def measure_sensitivities(
    candidates: Sequence[Candidate],
    snr_of: Callable[[Collection[str]], float],
    sensitivities: Sensitivities,
    seconds: float,
    progress: Progress = lambda phase, done, steps: None,
) -> bool:
    """Measure the candidates without a sensitivity, those with the most work first.

    `snr_of` gives the core's SNR in dB against float with these names in 8 bits. Returns whether
    all are measured; False if `seconds` are over first.
    """
    started = monotonic()
    for done, candidate in enumerate(sorted(candidates, key=lambda each: -each.work)):
        progress(f"alone in 8 bits: {candidate.name}", done, len(candidates))
        if candidate.name in sensitivities.values:
            continue
        if monotonic() - started > seconds:
            return False
        sensitivities.add(candidate.name, snr_of([candidate.name]))
    return True


def fallback_order(
    candidates: Sequence[Candidate], sensitivities: Mapping[str, float]
) -> list[str]:
    """The names of the candidates in the order in which they fall back to float.

    Ordered by noise per unit of work saved, the most first; unmeasured candidates count with the
    median noise of the others.
    """
    noise = {name: 10.0 ** (-snr / 10.0) for name, snr in sensitivities.items()}
    usual = median(noise.values()) if noise else 1.0

    def cost(candidate: Candidate) -> float:
        made: float = noise.get(candidate.name, usual)
        return made / max(candidate.work, 1)

    return [candidate.name for candidate in sorted(candidates, key=cost, reverse=True)]


def search(
    order: Sequence[str],
    passes: Callable[[frozenset[str]], bool],
    progress: Progress = lambda phase, done, steps: None,
) -> list[Trial]:
    """Let as few names of `order` as possible fall back; gives every trial, the best one last.

    A bisection of the number of names that fall back, between none (known to fail) and all (float,
    which passes). The last trial is the result: it has no names where nothing in 8 bits passes.
    """
    trials: dict[int, Trial] = {}
    steps = max(1, len(order).bit_length())

    def passes_with(back: int) -> bool:
        progress(f"{back} of {len(order)} back in float", len(trials), steps)
        trials[back] = Trial(frozenset(order[back:]), passes(frozenset(order[back:])))
        return trials[back].passed

    best = trials.get(fewest(0, len(order), passes_with), Trial(frozenset(), passed=True))
    return [*(trial for trial in trials.values() if trial is not best), best]


SnrOf = Callable[[Collection[str]], float]  # of the core with these names in 8 bits, in dB


@dataclass(frozen=True)
class Point:
    """The names in 8 bits, their quality, and whether it passed the gates."""

    names: frozenset[str]
    quality: Quality
    passed: bool


@dataclass(frozen=True)
class Search:
    """The points of a search, and the measured `sensitivities`."""

    points: Sequence[Point]
    sensitivities: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """The names in 8 bits of the last point: the best that passed, or all without a search."""
        return self.points[-1].names

    @property
    def quality(self) -> Quality:
        """The quality of the last point."""
        return self.points[-1].quality


def find_names(
    candidates: Sequence[Candidate],
    quantized: Callable[[Collection[str]], bytes],
    evaluator: Evaluator,
    gates_of: Callable[[Quality], Sequence[GateResult]],
    *,
    auto: bool,
    sensitivity_meter: Callable[[], AbstractContextManager[SnrOf]],
    seconds: float,
    progress: Progress = lambda phase, done, steps: None,
) -> Search:
    """All candidates; with `auto`, if they fail the gates, as many as pass.

    `quantized` makes a file with the given names in 8 bits, `evaluator` scores all clips, and
    `sensitivity_meter` opens the meter of sensitivities, which has `seconds` of time.
    """
    points: list[Point] = []

    def passes(names: frozenset[str]) -> bool:
        quality = evaluator(quantized(names), progress=progress)
        points.append(Point(names, quality, passed(gates_of(quality))))
        return points[-1].passed

    everything = frozenset(candidate.name for candidate in candidates)
    if passes(everything) or not auto:
        return Search(points)
    sensitivities = Sensitivities(
        sensitivities_file(quantized(everything), *_recordings(evaluator))
    )
    with sensitivity_meter() as snr_of:
        measure_sensitivities(candidates, snr_of, sensitivities, seconds, progress)
    trials = search(fallback_order(candidates, sensitivities.values), passes, progress)
    best = next((point for point in points if point.names == trials[-1].names), points[0])
    ordered = [*(point for point in points if point is not best), best]
    return Search(ordered, sensitivities.values)


def _recordings(evaluator: Evaluator) -> list[bytes]:
    return [clip.noisy.tobytes() for clip in evaluator.clips]
