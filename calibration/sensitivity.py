"""What 8 bits hurt, and how much of it to give back so that the quality passes.

Candidates are layers, or for processors signals. First each alone in 8 bits is heard against float:
its damage. Then they go back to float in the order of their damage for the work that is saved in
8 bits, as many as it takes: how many is found by halving. What was measured is kept, so that an
interrupted search goes on where it was.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Protocol

import msgspec

from frcrn_export.calibration.progress import Progress
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.cache import cache_dir


class Candidate(Protocol):
    """What can be in 8 bits; `work` is what that saves."""

    @property
    def name(self) -> str: ...

    @property
    def work(self) -> int: ...


@dataclass(frozen=True)
class Trial:
    """The names of what is in 8 bits, and whether its quality passed."""

    names: frozenset[str]
    passed: bool


@dataclass
class Damages:
    """The core's SNR in dB with one candidate alone in 8 bits, by its name; kept in a file."""

    path: Path
    values: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.values.update(msgspec.json.decode(self.path.read_bytes(), type=dict[str, float]))
        except (OSError, msgspec.MsgspecError):
            return  # nothing was measured yet, or nothing that can be read

    def add(self, name: str, snr_db: float) -> None:
        """Keep one more."""
        self.values[name] = snr_db
        replace_file(self.path, msgspec.json.encode(self.values))


def damages_file(*parts: bytes) -> Path:
    """Where the damages are kept of what these parts decide: model, ranges, recordings."""
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return cache_dir() / "sensitivity" / f"{key}.json"


def measure_damages(
    candidates: Sequence[Candidate],
    snr_of: Callable[[Collection[str]], float],
    damages: Damages,
    seconds: float,
    progress: Progress = lambda phase, done, steps: None,
) -> bool:
    """Measure each candidate that has no damage yet, those with the most work first.

    `snr_of` says in dB how near the core comes to float with these names in 8 bits. Returns whether
    all are measured; False after `seconds`, the rest being for another time.
    """
    started = monotonic()
    for done, candidate in enumerate(sorted(candidates, key=lambda each: -each.work)):
        progress(f"alone in 8 bits: {candidate.name}", done, len(candidates))
        if candidate.name in damages.values:
            continue
        if monotonic() - started > seconds:
            return False
        damages.add(candidate.name, snr_of([candidate.name]))
    return True


def return_order(candidates: Sequence[Candidate], damages: Mapping[str, float]) -> list[str]:
    """The names of the candidates in the order in which they go back to float.

    That of the noise that they make for the work that is saved in 8 bits; those that were not
    measured are taken to make as much as the median of the others.
    """
    noise = {name: 10.0 ** (-snr / 10.0) for name, snr in damages.items()}
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
    """Give back as few names of `order` as it takes to pass; every trial, the best one last.

    With all in 8 bits (already known to fail) and none (float, which passes) at the ends, the
    number to give back is halved down. The last trial is the one to take: it has no names where
    nothing in 8 bits passes.
    """
    trials: list[Trial] = []
    failing, passing = 0, len(order)
    best = Trial(frozenset(), passed=True)
    steps = max(1, len(order).bit_length())
    while passing - failing > 1:
        back = (failing + passing) // 2
        progress(f"{back} of {len(order)} back in float", len(trials), steps)
        trial = Trial(frozenset(order[back:]), passes(frozenset(order[back:])))
        trials.append(trial)
        if trial.passed:
            passing, best = back, trial
        else:
            failing = back
    return [*(trial for trial in trials if trial is not best), best]
