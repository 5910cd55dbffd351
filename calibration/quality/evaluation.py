"""Evaluating bundles on pairs of noisy and clean recordings."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from frcrn_export.calibration.quality.scoring import (
    MEASURES,
    Result,
    Scorer,
    require_packages,
    scoring,
)
from frcrn_export.calibration.quality.summary import ClipResult, Group, Mean
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.pairs import (
    ALL,
    Pair,
    check_pair,
    find_pairs,
    match_folders,
    read_pair,
)
from frcrn_export.runtime.audio.source import array_source
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, path_of
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.streaming.audio_stream import StreamedSources
from frcrn_export.runtime.streaming.network import open_network
from frcrn_export.runtime.text import quoted

Progress = Callable[[str, int, int], None]  # the pair, number done, total


@dataclass(frozen=True)
class Choice:
    """How to open a bundle; by default as `denoise` does.

    `stream`: as `denoise --stream` does; `windowed`: with `--windowed` too.
    """

    bundle: Path
    backend: str = "auto"
    precision: Precision | None = None
    stream: bool = False
    windowed: bool = False


@dataclass(frozen=True)
class Subject:
    """An opened bundle, and its label in tables."""

    label: str
    choice: Choice
    denoiser: Denoiser | StreamedSources

    @property
    def sample_rate(self) -> int:
        """The network's sample rate, in Hz."""
        return self.denoiser.manifest.sample_rate

    @property
    def precision(self) -> Precision:
        """The precision of the file that runs."""
        return self.denoiser.session.entry.precision

    def denoise(self, noisy: Float32Array) -> Float32Array:
        """[N] at the network's rate to [N]."""
        source = array_source(noisy, self.sample_rate)
        enhanced: Float32Array = np.concatenate(list(self.denoiser.stream(source)), axis=1)[0]
        return enhanced


def open_subjects(choices: list[Choice], threads: int | None = None) -> list[Subject]:
    """Open every choice; labels show only what differs.

    Raises BundleError, BackendError, and UserError for bundles of different sample rates.
    """
    labels = _labels(choices)
    subjects = [
        Subject(label, choice, _open(choice, threads))
        for label, choice in zip(labels, choices, strict=True)
    ]
    first = subjects[0]
    for other in subjects[1:]:
        if other.sample_rate != first.sample_rate:
            raise UserError(
                f"{first.choice.bundle} takes {first.sample_rate} Hz and {other.choice.bundle} "
                f"{other.sample_rate}; evaluate them one by one"
            )
    return subjects


def _labels(choices: list[Choice]) -> list[str]:
    """The bundles' paths, with the backend and the precision where these differ."""
    several = len({choice.backend for choice in choices}) > 1
    labels = []
    for choice in choices:
        parts = [str(choice.bundle), choice.backend if several else "", choice.precision or ""]
        labels.append(" ".join(part for part in parts if part))
    return labels


def _open(choice: Choice, threads: int | None) -> Denoiser | StreamedSources:
    bundle, backend, precision = open_bundle(choice.bundle), choice.backend, choice.precision
    if precision is not None and backend == "auto":
        backend = "onnxruntime"
    if choice.stream:
        network = open_network(
            bundle, backend, threads, windowed=choice.windowed, precision=precision
        )
        return StreamedSources(network)
    return replace(Denoiser.open(bundle, backend, threads, precision), finite=False)


# Clips queued for each process: enough to keep it busy, few enough for the memory.
_WAITING = 4


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation. `real_time_factors`: processing over audio time, by subject.

    They are None where scoring ran in other processes at the same time.
    """

    subjects: tuple[Subject, ...]
    metrics: tuple[str, ...]
    clips: tuple[ClipResult, ...]
    real_time_factors: tuple[float | None, ...]

    def noisy(self, metric: str) -> Mean | None:
        """The mean of a metric over the noisy recordings; None where it has no value."""
        return Group(ALL, self.clips).noisy(metric)

    def denoised(self, metric: str, subject: int = 0) -> Mean | None:
        """The mean of a metric over a subject's outputs."""
        return Group(ALL, self.clips).denoised(metric, subject)

    def gain(self, metric: str, subject: int = 0) -> Mean | None:
        """The mean improvement of a metric by a subject, clip by clip."""
        return Group(ALL, self.clips).gain(metric, subject)


def evaluate(
    bundles: Bundle | Path | str | Sequence[Bundle | Path | str],
    pairs: Path | str | tuple[Path | str, Path | str],
    *,
    backend: str = "auto",
    precision: Precision | None = None,
    stream: bool = False,
    windowed: bool = False,
    metrics: Sequence[str] = tuple(MEASURES),
    dnsmos: Path | str | None = None,
    threads: int | None = None,
    jobs: int = 1,
    progress: Progress = lambda phase, done, steps: None,
) -> Evaluation:
    """Measure the quality of speech denoised by bundles, against clean speech.

    Example:
        >>> result = frcrn_export.evaluate("wave", "pairs", metrics=["si_sdr"])
        >>> result.gain("si_sdr").mean > 1  # dB
        True

    Args:
        bundles: One bundle, or several to compare, of the same sample rate.
        pairs: A folder with NAME.noisy.* and NAME.clean.*, or two folders, of noisy and of clean
            recordings with the same names.
        backend: "auto" or a name in `frcrn_export.runtime.sessions.BACKENDS`.
        precision: "fp32", "fp16", "int8" or "fp8"; None as in `Denoiser.open`.
        stream: Denoise through a streaming core, as in real time.
        windowed: With `stream`: overlapping windows of the offline core.
        metrics: Any of "si_sdr" (dB), "pesq" (wide band), "stoi" and "seg_snr" (dB).
        dnsmos: The file sig_bak_ovr.onnx of the DNS challenge, to measure DNSMOS P.835 as well.
        threads: Limit of the network's processor threads.
        jobs: Number of scoring processes; with 1 the speed is measured too.
        progress: Called with the pair, the number of pairs done, and their total.

    Returns:
        Every score of every clip; `noisy`, `denoised` and `gain` give means with their 95%
        confidence intervals.

    Raises:
        UserError: No pairs, no measurable values, bundles of different rates, or missing packages.
        AudioError: A pair cannot be read, or its lengths differ.
        BundleError: A bundle cannot be read.
        BackendError: No backend runs it here.
        CheckFailed: An output is not finite.
    """
    measures = tuple(metrics)
    if unknown := [name for name in measures if name not in MEASURES]:
        raise UserError(f"unknown metric {unknown[0]!r}; choose from: {', '.join(MEASURES)}")
    require_packages(measures)
    several = [bundles] if isinstance(bundles, (Bundle, Path, str)) else bundles
    found = (
        match_folders(*map(Path, pairs)) if isinstance(pairs, tuple) else find_pairs(Path(pairs))
    )
    choices = [Choice(path_of(each), backend, precision, stream, windowed) for each in several]
    subjects = open_subjects(choices, threads)
    file = None if dnsmos is None else Path(dnsmos)
    scorer = Scorer(subjects[0].sample_rate, measures, file)
    return measure(subjects, found, scorer, jobs, progress)


def measure(
    subjects: Sequence[Subject],
    pairs: Sequence[Pair],
    scorer: Scorer,
    jobs: int = 1,
    progress: Progress = lambda phase, done, steps: None,
) -> Evaluation:
    """Denoise every pair with every subject here, and score the results in `jobs` processes.

    Reads every pair once first, so that a bad one is found before the work. `progress` is called
    with the pair, the number done and the total, of the reading and of the work. Raises AudioError
    for a bad pair, CheckFailed where an output is not finite, UserError where no metric has a value
    for any clip.
    """
    for index, pair in enumerate(pairs):
        progress(f"reading {pair.name}", index, len(pairs))
        check_pair(pair)
    seconds = [0.0] * len(subjects)
    done: list[ClipResult] = []
    waiting: deque[_Scored] = deque()
    with scoring(scorer, jobs) as score:
        for pair in pairs:
            progress(pair.name, len(done), len(pairs))
            clip = read_pair(pair, scorer.sample_rate)
            scored = _Scored(pair, len(clip.clean) / scorer.sample_rate)
            scored.results.append(score(clip.clean, clip.noisy))
            for index, subject in enumerate(subjects):
                started = perf_counter()
                enhanced = _enhanced(subject, pair, clip.noisy)
                seconds[index] += perf_counter() - started
                scored.results.append(score(clip.clean, enhanced))
            waiting.append(scored)
            while len(waiting) > _WAITING * jobs:
                done.append(waiting.popleft().wait())
        while waiting:
            done.append(waiting.popleft().wait())
            progress(done[-1].pair.name, len(done), len(pairs))
    _check_measured(done)
    audio = sum(result.seconds for result in done)
    factors = tuple(spent / audio if jobs == 1 else None for spent in seconds)
    return Evaluation(tuple(subjects), scorer.metrics, tuple(done), factors)


@dataclass(frozen=True)
class _Scored:
    """A pair whose scores are being computed: of the noisy recording, then of each output."""

    pair: Pair
    seconds: float
    results: list[Result] = field(default_factory=list)

    def wait(self) -> ClipResult:
        noisy, *denoised = (result() for result in self.results)
        return ClipResult(self.pair, self.seconds, noisy, tuple(denoised))


def _check_measured(clips: Sequence[ClipResult]) -> None:
    scores = [scores for clip in clips for scores in (clip.noisy, *clip.denoised)]
    if any(found.values for found in scores):
        return
    reasons = {f"{metric}: {why}" for found in scores for metric, why in found.missing.items()}
    raise UserError(
        f"nothing could be measured ({'; '.join(sorted(reasons))}); give other pairs or --metric"
    )


def _enhanced(subject: Subject, pair: Pair, noisy: Float32Array) -> Float32Array:
    enhanced = subject.denoise(noisy)
    if not np.isfinite(enhanced).all():
        raise CheckFailed(
            f"{subject.label}: its output for {pair.name} is not finite; "
            f"run: frcrn-export verify {quoted(subject.choice.bundle)}"
        )
    return enhanced
