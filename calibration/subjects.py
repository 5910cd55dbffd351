"""What is judged: a bundle as one backend runs it, offline or as a stream."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from frcrn_export.runtime.audio import Float32Array, array_source
from frcrn_export.runtime.bundle import Bundle, open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.hints import options_of
from frcrn_export.runtime.manifest import FileEntry, Precision, Role
from frcrn_export.runtime.sessions import BACKENDS, require_backend
from frcrn_export.runtime.sessions.engine_choice import engine_entries
from frcrn_export.runtime.streaming.audio_stream import StreamedSources
from frcrn_export.runtime.streaming.network import network_of, open_network
from frcrn_export.runtime.streaming.session import open_stream_entry

_OFFLINE: tuple[Role, ...] = ("core", "pipeline")
_STREAMING: tuple[Role, ...] = ("core_streaming",)


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
    bundle = open_bundle(choice.bundle)
    if choice.precision is not None:
        backend = "onnxruntime" if choice.backend == "auto" else choice.backend
        entry = _entry(bundle, choice, backend, choice.precision)
        if choice.stream:
            session = open_stream_entry(bundle, entry, backend, threads)
            return StreamedSources(network_of(bundle, session))
        return Denoiser(bundle.manifest, BACKENDS[backend].open(bundle, entry, threads))
    if choice.stream:
        network = open_network(bundle, choice.backend, threads, windowed=choice.windowed)
        return StreamedSources(network)
    return Denoiser.open(bundle, choice.backend, threads)


def _entry(bundle: Bundle, choice: Choice, backend: str, precision: Precision) -> FileEntry:
    """The bundle's file of this precision for the backend."""
    require_backend(backend)
    found = BACKENDS[backend]
    roles = _STREAMING if choice.stream else _OFFLINE
    files = engine_entries(bundle, found.flavor) if found.flavor else bundle.manifest.files
    for entry in files:
        if found.takes(entry) and entry.role in roles and entry.precision == precision:
            return entry
    if found.format == "torchscript" and (precision != "fp32" or choice.stream):
        raise BackendError("torchscript runs in fp32 and offline; take --backend onnxruntime")
    options = options_of(bundle.manifest, streaming=choice.stream)
    command = found.export_command.format(bundle=quote(str(bundle.path)), options=options)
    if found.flavor is not None:
        command = command.replace("--fp16", f"--{precision}")
    elif precision == "fp16":
        command += " --fp16"
    command += " --streaming" * choice.stream
    raise BackendError(
        f"{bundle.path}: no {precision} {'streaming ' * choice.stream}file in this bundle for "
        f"{backend}; run: {command}"
    )
