"""What is judged: a bundle as one backend runs it, offline or as a stream."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.source import array_source
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.streaming.audio_stream import StreamedSources
from frcrn_export.runtime.streaming.network import open_network


@dataclass(frozen=True)
class Choice:
    """How to open a bundle. Without a precision it is opened as `denoise` does.

    `stream`: as `denoise --stream` does; `windowed`: with `--windowed` too.
    """

    bundle: Path
    backend: str = "auto"
    precision: Precision | None = None
    stream: bool = False
    windowed: bool = False


@dataclass(frozen=True)
class Subject:
    """An opened bundle, and what tables call it."""

    label: str
    choice: Choice
    denoiser: Denoiser | StreamedSources

    @property
    def sample_rate(self) -> int:
        """What the network takes, in Hz."""
        return self.denoiser.manifest.sample_rate

    @property
    def precision(self) -> Precision:
        """Of the file that runs, chosen or not."""
        return self.denoiser.session.entry.precision

    def denoise(self, noisy: Float32Array) -> Float32Array:
        """[N] at the network's rate to [N]."""
        source = array_source(noisy, self.sample_rate)
        enhanced: Float32Array = np.concatenate(list(self.denoiser.stream(source)), axis=1)[0]
        return enhanced


def open_subjects(choices: list[Choice], threads: int | None = None) -> list[Subject]:
    """Open every choice; what their labels share is left out of them.

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
    return Denoiser.open(bundle, backend, threads, precision)
