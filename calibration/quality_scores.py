"""The quality of quantized files on held-out pairs, relative to float32."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isnan

import msgspec
import numpy as np

from frcrn_export.calibration.quality.scoring import (
    Result,
    Scorer,
    Scores,
    require_packages,
    scoring,
)
from frcrn_export.calibration.recorded_core import Model, RecordedCore, open_recorded
from frcrn_export.calibration.settings import Progress
from frcrn_export.exporters.hard_sound import ABRUPT, allowance_db, hard_waves
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.audio.pairs import Pair, check_pair, read_pair
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import CheckFailed
from frcrn_export.runtime.text import quoted

METRICS = ("si_sdr", "pesq", "stoi")
# Limits the weight of a single (nearly) exact or broken clip in the mean.
SNR_LIMIT_DB = 100.0
_NOT_FINITE = "the output is not finite"

Score = Callable[[Float32Array, Float32Array], Result]


@dataclass(frozen=True)
class ClipQuality:
    """The quality of one file on one clip.

    `core_snr_db`: SNR of the core's output against float32's on the same audio, over the whole
    clip, limited to +-100 dB; None for float32 itself, and where its output is silent.
    """

    name: str
    seconds: float
    scores: Scores
    core_snr_db: float | None


@dataclass(frozen=True)
class Quality:
    """The quality of one file on all clips, in their order; scores may be left out.

    `abrupt_snr_db`: the least SNR of its output against float32's on clicks, a jump of level and
    noise of full scale, the last with what `exporters.hard_sound` allows it; None for float32
    itself, and where scores are left out.
    """

    clips: tuple[ClipQuality, ...]
    abrupt_snr_db: float | None = None

    def mean(self, metric: str) -> float | None:
        """The mean over the clips that have a value."""
        return _mean(clip.scores.values.get(metric) for clip in self.clips)

    @property
    def mean_core_snr_db(self) -> float | None:
        """Mean over clips, in dB."""
        return _mean(clip.core_snr_db for clip in self.clips)

    @property
    def worst(self) -> ClipQuality:
        """The clip with the least core SNR."""
        return min(self.clips, key=lambda clip: _or_best(clip.core_snr_db))

    def drop(self, float32: "Quality", metric: str) -> float | None:
        """The mean loss against float32, over the clips where both have a value."""
        pairs = zip(float32.clips, self.clips, strict=True)
        values = [(one.scores.values, other.scores.values) for one, other in pairs]
        return _mean(o[metric] - n[metric] for o, n in values if metric in o and metric in n)

    def lost(self, float32: "Quality", metric: str) -> list[ClipQuality]:
        """The clips that have a value in float32 and none here."""
        pairs = zip(float32.clips, self.clips, strict=True)
        return [n for o, n in pairs if metric in o.scores.values and metric in n.scores.missing]


@dataclass(frozen=True)
class HeldOutClip:
    """A pair at the network's rate [N], and the output of the float32 core for it [..., T]."""

    pair: Pair
    noisy: Float32Array
    clean: Float32Array
    core: Float32Array


@dataclass(frozen=True)
class Evaluator:
    """Evaluates files with the I/O signature of a bundle's core, whose own result is `float32`.

    `noisy`: the scores of the noisy recordings. Memory holds each clip's two recordings and the
    core's output.
    """

    clips: tuple[HeldOutClip, ...]
    noisy: tuple[Scores, ...]
    float32: Quality
    _float32: RecordedCore
    _open: Callable[[Model], RecordedCore]
    _score: Score

    def __call__(
        self,
        model: Model,
        *,
        scored: bool = True,
        progress: Progress = lambda phase, done, total: None,
    ) -> Quality:
        """Run an ONNX file, or its content, on every clip.

        Without `scored` it only measures the core's SNR, which is much cheaper. An output that is
        not finite has no scores and -100 dB. Raises BackendError for a model that cannot be run.
        """
        core = self._open(model)
        waiting: list[tuple[HeldOutClip, Result, float | None]] = []
        for index, clip in enumerate(self.clips):
            progress(clip.pair.name, index, len(self.clips))
            enhanced, trace = core.denoise(clip.noisy)
            given = trace.enhanced(core.lookahead)
            finite = bool(np.isfinite(enhanced).all() and np.isfinite(given).all())
            if not scored:
                result = _no_scores
            elif finite:
                result = self._score(clip.clean, enhanced)
            else:
                result = _not_finite
            waiting.append((clip, result, _core_snr(clip.core, given)))
        rate = core.manifest.sample_rate
        clips = tuple(
            ClipQuality(clip.pair.name, len(clip.noisy) / rate, result(), snr)
            for clip, result, snr in waiting
        )
        progress("", len(self.clips), len(self.clips))
        return Quality(clips, self._abrupt_snr_db(core) if scored else None)

    def _abrupt_snr_db(self, core: RecordedCore) -> float | None:
        """The least SNR [dB] on abrupt sound, each with its allowance."""
        precision = core.opened.entry.precision
        snrs = [
            (_core_snr(expected, core.denoise(wave)[0]), allowance_db(name, precision))
            for name, (wave, expected) in self._abrupt.items()
        ]
        return min((snr + allowed for snr, allowed in snrs if snr is not None), default=None)

    @cached_property
    def _abrupt(self) -> dict[str, tuple[Float32Array, Float32Array]]:
        """Abrupt sound by name, and float32's output for it."""
        waves = hard_waves(self._float32.manifest.sample_rate)
        return {name: (waves[name], self._float32.denoise(waves[name])[0]) for name in ABRUPT}

    def denoise(self, name: str, model: Model | None = None) -> Float32Array:
        """A model's output [N] for the clip of this name; None is the float32 core."""
        clip = next(clip for clip in self.clips if clip.pair.name == name)
        core = self._float32 if model is None else self._open(model)
        return core.denoise(clip.noisy)[0]


@contextmanager
def evaluating(
    bundle: Bundle,
    entry: FileEntry,
    pairs: Sequence[Pair],
    *,
    called: FileEntry | None = None,
    threads: int | None = None,
    jobs: int = 1,
    metrics: tuple[str, ...] = METRICS,
    progress: Progress = lambda phase, done, total: None,
) -> Iterator[Evaluator]:
    """Run a bundle's float32 core, offline or streaming, on the pairs; then evaluate others.

    `called` is the I/O signature of the others, where their states differ from the float32 core's.
    `threads`: of the network; `jobs`: processes that score. Long utterances are cut for float32 as
    for INT8 (see `runtime.denoiser.enhance`), so that only the precision differs. Raises AudioError
    for a bad pair, UserError where a package is missing, CheckFailed where float32's output is not
    finite.
    """
    require_packages(metrics)
    manifest = bundle.manifest
    as_int8 = msgspec.structs.replace(called or entry, precision="int8")

    def opened(model: Model) -> RecordedCore:
        return open_recorded(manifest, as_int8, model, threads)

    for index, pair in enumerate(pairs):
        progress(f"reading {pair.name}", index, len(pairs))
        check_pair(pair)
    source = bundle.file(entry)
    cut_alike = msgspec.structs.replace(entry, precision="int8")
    core = open_recorded(manifest, cut_alike, source, threads)
    clips: list[HeldOutClip] = []
    results: list[tuple[Result, Result]] = []
    with scoring(Scorer(manifest.sample_rate, metrics), jobs) as score:
        for index, pair in enumerate(pairs):
            progress(f"float32: {pair.name}", index, len(pairs))
            clip = read_pair(pair, manifest.sample_rate)
            enhanced, trace = core.denoise(clip.noisy)
            if not np.isfinite(enhanced).all():
                raise CheckFailed(
                    f"{entry.path}: its output for {pair.name} is not finite; "
                    f"run: frcrn-export verify {quoted(bundle.path)}"
                )
            results.append((score(clip.clean, clip.noisy), score(clip.clean, enhanced)))
            given = trace.enhanced(core.lookahead)
            clips.append(HeldOutClip(pair, clip.noisy, clip.clean, given))
        noisy = tuple(before() for before, _ in results)
        float32 = tuple(
            ClipQuality(clip.pair.name, len(clip.noisy) / manifest.sample_rate, after(), None)
            for clip, (_, after) in zip(clips, results, strict=True)
        )
        progress("", len(pairs), len(pairs))
        yield Evaluator(tuple(clips), noisy, Quality(float32), core, opened, score)


def _core_snr(float32: Float32Array, other: Float32Array) -> float | None:
    snr = snr_db(float32, other)
    if not float32.any():
        return None
    return -SNR_LIMIT_DB if isnan(snr) else float(np.clip(snr, -SNR_LIMIT_DB, SNR_LIMIT_DB))


def _no_scores() -> Scores:
    return Scores()


def _not_finite() -> Scores:
    return Scores(missing=dict.fromkeys(METRICS, _NOT_FINITE))


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _or_best(snr: float | None) -> float:
    return SNR_LIMIT_DB if snr is None else snr
