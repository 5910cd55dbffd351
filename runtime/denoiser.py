"""The denoiser: a bundle opened with a backend, ready for arrays and for long recordings."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.attenuation import mix_blocks, noisy_share
from frcrn_export.runtime.audio.framing import (
    cut_windows,
    fit,
    join_windows,
    padding_samples,
    window_count,
)
from frcrn_export.runtime.audio.high_pass import HighPassed, infrasound_db
from frcrn_export.runtime.audio.level import EPS_LEVELLED, EPS_RESTORED, measure_gain
from frcrn_export.runtime.audio.resample import Resampled, fit_blocks, resample_blocks
from frcrn_export.runtime.audio.source import ArraySource, AudioSource, array_source
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import export_again, onnx_command
from frcrn_export.runtime.errors import BackendError, OutputError
from frcrn_export.runtime.processes import OfOneProcess
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.session import Session, bounded

logger = logging.getLogger(__name__)

WaveFunction = Callable[[Float32Array], Float32Array]

# Windows in one call of the core. On a CPU more than one only costs memory.
_BATCH = {"cpu": 1, "cuda": 16}
# A core without a long form takes utterances whole up to this many times the length at which
# `core_long` begins: 20 s of a network of 14 M parameters, which takes 2 GB.
WHOLE_WITHOUT_LONG = 4
# The power of DC and infrasound over the rest that is worth a warning: the level is off by 1 dB.
_MUCH_INFRASOUND_DB = -6.0


def wave_function(session: Session, manifest: Manifest) -> WaveFunction:
    """The session as a function of waveforms, [B, N] -> [B, N'] with N' <= N, in either domain.

    What enters the core is bounded to what its precision was verified for.
    """
    if session.entry.role == "pipeline":
        return session.run

    def core(inputs: Float32Array) -> Float32Array:
        return session.run(bounded(session.entry, inputs))

    if manifest.stft is None:
        return lambda wave: core(wave[:, None])[:, 0]  # [B, N] as [B, 1, N]
    stft = Stft(manifest.stft)
    return lambda wave: stft.synthesis(core(stft.analysis(wave)))


def enhance(
    source: AudioSource,
    session: Session,
    manifest: Manifest,
    restore_level: bool,
    attenuation_limit: float | None = None,
) -> Iterator[Float32Array]:
    """Enhance a source at the bundle's rate: blocks [C, n] that concatenate to [C, N].

    Every channel is an utterance of its own. Up to `segments.above` samples it goes through the
    core whole, if an engine's profile includes that length. Longer utterances go through in
    windows, so that memory holds a few windows at most. A file with the whole pipeline does its own
    level and padding, and takes whole utterances only.

    `core_long` exists in float32 alone. A core of another precision takes utterances whole up to
    four times the length at which `core_long` begins, and in windows beyond: it runs in its own
    precision from end to end, in bounded memory.
    """
    share = noisy_share(attenuation_limit)
    in_graph = session.entry.role == "pipeline"
    whole = source.frames <= manifest.segments.above and (
        in_graph or _fits_whole(source.frames, session, manifest)
    )
    if in_graph:
        _require_what_the_graph_does(source, session, manifest, restore_level)
    if whole:  # small enough to be read only once
        source = ArraySource(np.concatenate(list(source.blocks()), axis=1), source.sample_rate)
    eps = EPS_RESTORED if restore_level else EPS_LEVELLED
    gain = measure_gain(source.blocks, "none" if in_graph else manifest.level, eps)
    scale = gain.astype(np.float32)[:, None]  # [C, 1]
    scaled = (block * scale for block in source.blocks())
    function = wave_function(session, manifest)
    if whole:
        padding = 0 if in_graph else padding_samples(source.frames, manifest.padding)
        enhanced = _whole(scaled, source.frames, padding, function)
    else:
        count = window_count(source.frames, manifest.padding, manifest.segments)
        windows = cut_windows(scaled, count, manifest.segments)
        done = _enhance_windows(windows, function, rows_at_once(session))
        enhanced = join_windows(done, source.frames, count, manifest.segments)
    if restore_level:
        enhanced = (block / scale for block in enhanced)
    if not share:
        return enhanced
    noisy = source.blocks() if restore_level else (block * scale for block in source.blocks())
    return mix_blocks(noisy, enhanced, share)


def _fits_whole(samples: int, session: Session, manifest: Manifest) -> bool:
    """Whether a padded utterance is no longer than the session can take at once."""
    entry, engine = session.entry, session.entry.engine
    padded = samples + padding_samples(samples, manifest.padding)
    length = manifest.stft.frames(padded) if manifest.stft else padded
    if engine is not None:
        return length <= engine.profile.max[-1]
    long_core = manifest.file("core_long", entry.format)
    if long_core is None or entry.precision == "fp32" or session.device != "cpu":
        return True
    return length <= WHOLE_WITHOUT_LONG * long_core.above_frames


def rows_at_once(session: Session) -> int:
    """How many windows one call of the core takes."""
    most = _BATCH[session.device]
    return min(most, session.entry.engine.profile.max[0]) if session.entry.engine else most


def _require_what_the_graph_does(
    source: AudioSource, session: Session, manifest: Manifest, restore_level: bool
) -> None:
    """Raise BackendError for what a file with the whole pipeline cannot do."""
    core_command = f"export the core: {onnx_command(manifest)}"
    if not restore_level:
        raise BackendError(
            f"{session.entry.path} restores the level inside; to leave it as it is, {core_command}"
        )
    most = manifest.segments.above
    if source.frames > most:
        rate = source.sample_rate
        raise OutputError(
            f"{session.entry.path} takes at most {most / rate:g} s at once, got "
            f"{source.frames / rate:.1f} s; for longer recordings {core_command}"
        )


def _whole(
    blocks: Iterable[Float32Array], samples: int, padding: int, function: WaveFunction
) -> Iterator[Float32Array]:
    wave = fit(np.concatenate(list(blocks), axis=1), samples + padding)  # [C, N + padding]
    channels = [function(wave[index : index + 1]) for index in range(len(wave))]
    yield fit(np.concatenate(channels), samples)


def _enhance_windows(
    windows: Iterator[Float32Array], function: WaveFunction, batch: int
) -> Iterator[Float32Array]:
    """Windows [C, length] through the core, at most `batch` rows at once, in their order."""
    for window in windows:
        channels = len(window)
        group = [window, *islice(windows, max(1, batch // channels) - 1)]
        rows = np.concatenate(group)  # [windows * C, length]
        parts = [function(rows[start : start + batch]) for start in range(0, len(rows), batch)]
        yield from np.split(np.concatenate(parts), len(group))


@dataclass(frozen=True)
class Denoiser(OfOneProcess):
    """Removes noise from speech. Calls keep no state, so threads may share a denoiser.

    It belongs to the process that opened it: a forked child opens its own.

    Example:
        >>> denoiser = frcrn_export.Denoiser.open("wave")
        >>> noisy, rate = soundfile.read("noisy.wav", dtype="float32")
        >>> clean = denoiser(noisy, sample_rate=rate)
        >>> clean.shape == noisy.shape
        True

    Attributes:
        manifest: The bundle's manifest.
        session: The core, opened by a backend.
    """

    manifest: Manifest
    session: Session
    finite: bool = True  # outputs must be; measurements take any, and need no warnings

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str,
        backend: str = "auto",
        threads: int | None = None,
        precision: Precision | None = None,
        high_pass: bool | None = None,
    ) -> "Denoiser":
        """Open a bundle and check its files.

        Args:
            bundle: A bundle, or its folder.
            backend: "auto" or a name in `frcrn_export.runtime.sessions.BACKENDS`.
            threads: Processor threads; None is one for each processor that this process may use.
            precision: "fp32", "fp16", "int8" or "fp8"; None takes float32, of engines float16
                first, never 8 bits.
            high_pass: Whether DC and infrasound are taken out first; None is the bundle's choice.

        Returns:
            A denoiser, which any number of threads may call.

        Raises:
            BundleError: The bundle is missing, was altered, or cannot be read.
            BackendError: The backend is unknown, not installed, or cannot run this bundle here.
        """
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        session = open_session(opened, backend, threads, precision)
        return cls(opened.manifest.with_high_pass(high_pass), session)

    def __call__(
        self,
        audio: npt.NDArray[Any],
        sample_rate: int | None = None,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> Float32Array:
        """Denoise an array.

        Args:
            audio: [N] or [channels, N] floats in [-1, 1]. Each channel is an utterance of its own.
            sample_rate: Of the audio, in Hz; None is the bundle's.
            restore_level: Restore the level of the input; False keeps the level that the network
                works at.
            attenuation_limit: The most that noise is lowered by, in dB from 0; None is no limit.

        Returns:
            float32 of the same shape and rate.

        Raises:
            AudioError: The audio is empty, not finite, or of the wrong shape or type.
            BackendError: The backend failed, or the network's output cannot be used.
            UserError: A limit below 0.
        """
        source = array_source(audio, sample_rate or self.manifest.sample_rate)
        blocks = self.stream(source, restore_level, attenuation_limit)
        denoised = np.concatenate(list(blocks), axis=1)
        return denoised.reshape(audio.shape)

    def stream(
        self,
        source: AudioSource,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> Iterator[Float32Array]:
        """Denoise a source of any length in bounded memory.

        Args:
            source: Audio that is read block by block, such as
                `frcrn_export.runtime.audio.file.FileSource`.
            restore_level: As in a call.
            attenuation_limit: As in a call.

        Returns:
            Blocks [channels, n] float32 at the source's rate; put end to end they have its length.

        Raises:
            AudioError: The source cannot be read.
            BackendError: The backend failed, the network gives NaN or infinity, or this is a forked
                child of the process that opened the denoiser.
            UserError: A limit below 0.
        """
        self.require_own_process()
        rate = self.manifest.sample_rate
        given = self._without_infrasound(source)  # first: a resampler rings at the edges of DC
        if source.sample_rate != rate:
            given = Resampled(given, rate)
        enhanced = self._checked(
            enhance(given, self.session, self.manifest, restore_level, attenuation_limit)
        )
        if source.sample_rate == rate:
            return enhanced
        blocks = resample_blocks(enhanced, source.channels, rate, source.sample_rate)
        return fit_blocks(blocks, source.channels, source.frames)

    def _without_infrasound(self, source: AudioSource) -> AudioSource:
        if self.manifest.high_pass is not None:
            return HighPassed(source, self.manifest.high_pass)
        if self.finite and (excess := infrasound_db(source)) > _MUCH_INFRASOUND_DB:
            logger.warning(
                "%s: DC and infrasound are %+.0f dB against the sound, and no filter is on; "
                "take them out: --high-pass (high_pass=True)",
                source.name,
                excess,
            )
        return source

    def _checked(self, blocks: Iterator[Float32Array]) -> Iterator[Float32Array]:
        for block in blocks:
            if self.finite and not np.isfinite(block).all():
                entry = self.session.entry
                remedy = (
                    f"run: {export_again(self.manifest)}"
                    if entry.precision == "fp32"
                    else "take --precision fp32"
                )
                raise OutputError(
                    f"{entry.path}: {self.session.backend} gave samples that are NaN or infinite; "
                    f"{remedy}"
                )
            yield block
