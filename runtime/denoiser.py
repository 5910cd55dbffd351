"""The denoiser: a bundle opened with a backend, ready for arrays and for long recordings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.resample import Resampled, fit_blocks, resample_blocks
from frcrn_export.runtime.audio.source import AudioSource, array_source
from frcrn_export.runtime.bundle.manifest import Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.pipeline import enhance
from frcrn_export.runtime.sessions.registry import Session, open_session


@dataclass(frozen=True)
class Denoiser:
    """Removes noise from speech. Calls keep no state, so threads may share a denoiser.

    >>> denoiser = Denoiser.open("frcrn-16k.bundle")
    >>> clean = denoiser(noisy, sample_rate=48_000)
    """

    manifest: Manifest
    session: Session

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str,
        backend: str = "auto",
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> "Denoiser":
        """Open a bundle directory and check its files.

        `backend`: "auto" or a name in `frcrn_export.runtime.sessions.BACKENDS`. `threads`: limit
        of processor threads, None for the backend's own choice. `precision`: "fp32", "fp16",
        "int8" or "fp8"; None for float32, of engines float16 first, and never 8 bits. Raises
        BundleError, BackendError, UserError.
        """
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        return cls(opened.manifest, open_session(opened, backend, threads, precision))

    def __call__(
        self, audio: npt.NDArray[Any], sample_rate: int = 16_000, restore_level: bool = True
    ) -> Float32Array:
        """Denoise [N] or [channels, N] floats in [-1, 1] at `sample_rate` Hz.

        Returns float32 of the same shape and rate. Each channel is an utterance of its own.
        `restore_level=False` leaves the result at the level that the network works at. Raises
        AudioError where the audio is empty, not finite or of the wrong shape or type.
        """
        source = array_source(audio, sample_rate)
        denoised = np.concatenate(list(self.stream(source, restore_level)), axis=1)
        return denoised.reshape(audio.shape)

    def stream(self, source: AudioSource, restore_level: bool = True) -> Iterator[Float32Array]:
        """Denoise a source of any length in bounded memory.

        Gives blocks [C, n] at the source's rate that put end to end have its length.
        """
        rate = self.manifest.sample_rate
        if source.sample_rate == rate:
            return enhance(source, self.session, self.manifest, restore_level)
        enhanced = enhance(Resampled(source, rate), self.session, self.manifest, restore_level)
        blocks = resample_blocks(enhanced, source.channels, rate, source.sample_rate)
        return fit_blocks(blocks, source.channels, source.frames)
