"""Parity of a bundle: every artifact against the reference outputs in `parity.npz`.

Needs neither torch nor the checkpoint, so the target machine can run it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    FileEntry,
    ParityResult,
    Precision,
    Role,
)
from frcrn_export.runtime.bundle.npz import read_arrays
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError, BundleError, reading
from frcrn_export.runtime.sessions.choose import engine_entries
from frcrn_export.runtime.sessions.registry import (
    BACKENDS,
    ENGINE_BACKENDS,
    is_installed,
    require_backend,
)
from frcrn_export.runtime.sessions.session import Session
from frcrn_export.runtime.text import shown
from frcrn_export.runtime.verify.stream_parity import stream_output, takes_streams
from frcrn_export.runtime.verify.streaming_parity import open_streamed
from frcrn_export.runtime.verify.surroundings import surrounding_op

FLOOR_DB: dict[Precision, float] = {"fp32": 90.0, "fp16": 45.0, "int8": 20.0, "fp8": 20.0}
# The cases of inputs as loud as the level rules give at most, and louder, begin so.
LOUD = "loud"
# They are to show that nothing overflows; a level rule gives such inputs for moments at most.
_LOUD_ALLOWANCE_DB = 20.0
_MOST_BYTES = 256 << 20  # of all vectors; the largest network's, streaming included, are 30 MB
_IDENTICAL_DB = 300.0  # JSON has no infinity

_DEFAULT_BACKENDS = ("onnxruntime-cpu", *ENGINE_BACKENDS)

# The stages of `parity.npz` at which an artifact is compared, by role.
_STAGES: dict[Role, tuple[str, ...]] = {
    "core": ("core", "pipeline", "levelled"),
    "core_long": ("core_long",),
    "core_static": ("core_static",),
    "pre": ("pre",),
    "post": ("post",),
    "pipeline": ("pipeline",),
}


@dataclass(frozen=True)
class Case:
    """One input and the reference's output for it; `more` are a stage's further arrays."""

    stage: str
    name: str
    input: Float32Array
    output: Float32Array
    more: Mapping[str, Float32Array] = field(default_factory=dict)


def parity_arrays(bundle: Bundle) -> dict[str, Float32Array]:
    """The arrays of the bundle's `parity.npz`, by name: "stage.case.input" and so on.

    Raises BundleError if it is missing or damaged.
    """
    entry = bundle.manifest.file("parity", "npz")
    if entry is None:
        raise BundleError(f"{bundle.path}: no parity vectors; run: {export_again(bundle.manifest)}")
    path = bundle.file(entry)
    with _vectors(bundle, path):
        return read_arrays(path, _MOST_BYTES)


def read_cases(bundle: Bundle) -> list[Case]:
    """The cases in the bundle's `parity.npz`. Raises BundleError if it is missing or damaged."""
    found = parity_arrays(bundle)
    with _vectors(bundle, bundle.path):
        cases: dict[tuple[str, str], dict[str, Float32Array]] = {}
        for name, values in sorted(found.items()):
            whole, array = name.rsplit(".", 1)
            stage, case = whole.split(".", 1)
            cases.setdefault((stage, case), {})[array] = values
        return [
            Case(*key, arrays.pop("input"), arrays.pop("output"), arrays)
            for key, arrays in cases.items()
        ]


@dataclass(frozen=True)
class OpenArtifact:
    """A file of the bundle opened by a backend, and its label in tables."""

    label: str
    session: Session


def open_artifacts(
    bundle: Bundle, roles: tuple[Role, ...], backends: tuple[str, ...] = ()
) -> Iterator[OpenArtifact]:
    """Open the files of these roles, one after another, by each named backend for their format.

    Without names: ONNX files by ONNX Runtime on the CPU, engines by TensorRT, and TorchScript of
    trusted bundles by PyTorch, as far as these are installed and run here. Only engines for the GPU
    of this machine are opened. Raises BackendError if a named backend cannot run here.
    """
    chosen = backends or tuple(
        backend
        for backend in _DEFAULT_BACKENDS + ("torchscript",) * bundle.trusted
        if is_installed(BACKENDS[backend].package)
    )
    for backend in chosen:
        require_backend(backend)
    candidates = {backend: _candidates(bundle, backend) for backend in chosen}
    for entry in bundle.manifest.files:
        for backend in chosen:
            if entry.role in roles and entry in candidates[backend]:
                label = entry.path if len(backends) < 2 else f"{entry.path} ({backend})"
                try:
                    session = BACKENDS[backend].open(bundle, entry, None)
                except BackendError:
                    if backends or entry.engine is None:
                        raise
                    continue  # an engine for another machine
                yield OpenArtifact(label, session)


def _candidates(bundle: Bundle, backend: str) -> list[FileEntry]:
    """The files that a backend can open here, or should fail to open with a reason."""
    found = BACKENDS[backend]
    if found.engines is not None:
        return engine_entries(bundle, found.engines)
    return [entry for entry in bundle.manifest.files if found.takes(entry)]


def stored_parity(bundle: Bundle) -> tuple[ParityResult, ...]:
    """What `check_bundle` finds, and nothing for a bundle without reference outputs."""
    has_vectors = bundle.manifest.file("parity", "npz") is not None
    return tuple(check_bundle(bundle)) if has_vectors else ()


def check_bundle(
    bundle: Bundle, backends: tuple[str, ...] = (), only: str = ""
) -> Iterator[ParityResult]:
    """Compare every artifact with the reference outputs, as `open_artifacts` opens them.

    Inputs of a core that an engine's profile does not include are left out, and all cases whose
    "stage.name" does not begin with `only`.
    """
    cases = [c for c in read_cases(bundle) if f"{c.stage}.{c.name}".startswith(only)]
    for artifact in open_artifacts(bundle, tuple(_STAGES), backends):
        entry = artifact.session.entry
        for case in cases:
            if case.stage in _STAGES[entry.role] and _takes(entry, case):
                with _comparing(bundle, case):
                    output = _run(bundle, artifact.session, case)
                name = f"{case.stage}.{case.name}"
                yield compare(artifact.label, name, case.output, output, entry, _allowed_db(case))
    for streamed in open_streamed(bundle, backends):
        for case in cases:
            if case.stage == "streaming" and _takes(streamed.entry, case):
                with _comparing(bundle, case):
                    output = streamed(case.input)
                name = f"{case.stage}.{case.name}"
                allowed = _allowed_db(case)
                yield compare(streamed.label, name, case.output, output, streamed.entry, allowed)
            if case.stage == "stream" and takes_streams(streamed.entry):
                with _comparing(bundle, case):
                    whole = stream_output(bundle, streamed, case.input, case.more)
                if whole is not None:
                    name = f"{case.stage}.{case.name}"
                    yield compare(streamed.label, name, case.output, whole, streamed.entry)
    yield from _check_surroundings(bundle, cases)


def _vectors(bundle: Bundle, path: Path) -> AbstractContextManager[None]:
    return reading(path, "not parity vectors", _again(bundle))


def _comparing(bundle: Bundle, case: Case) -> AbstractContextManager[None]:
    """Turn errors of a run into BundleError: `parity.npz` decides the input shapes."""
    problem = f"parity vectors {shown(case.stage)}.{shown(case.name)} do not fit it"
    return reading(bundle.path, problem, _again(bundle))


def _again(bundle: Bundle) -> Callable[[], str]:
    return lambda: f"run: {export_again(bundle.manifest)}"


def is_loud(case: Case) -> bool:
    """Whether a case shows how loud a core's input may be: files take those up to their limit."""
    return case.name.startswith(LOUD)


def _allowed_db(case: Case) -> float:
    return _LOUD_ALLOWANCE_DB if is_loud(case) else 0.0


def _takes(entry: FileEntry, case: Case) -> bool:
    if is_loud(case):
        # Only float16 has to hold them; calibrated files have seen other levels.
        limit = 0.0 if entry.precision in QUANTIZED else entry.input_limit or 0.0
        if np.abs(case.input).max() > limit:
            return False
    fits = entry.engine is None or entry.engine.profile.includes(case.input.shape)
    return fits or case.stage != "core"


def floor_of(entry: FileEntry) -> float:
    """The least SNR of a file in dB: what was asked for, else that of its precision."""
    return FLOOR_DB[entry.precision] if entry.floor_db is None else entry.floor_db


def compare(
    artifact: str,
    case: str,
    expected: Float32Array,
    output: Float32Array,
    entry: FileEntry | None,
    allowed_db: float = 0.0,
) -> ParityResult:
    """Compare an output with the reference. Wrong shapes, NaN and infinity never pass.

    `allowed_db`: how far below its floor the file may be in this case.
    """
    floor = (floor_of(entry) if entry else FLOOR_DB["fp32"]) - allowed_db
    if output.shape != expected.shape or not np.isfinite(output).all():
        snr, error = -_IDENTICAL_DB, float(np.finfo(np.float32).max)
    else:
        snr = float(np.clip(snr_db(expected, output), -_IDENTICAL_DB, _IDENTICAL_DB))
        error = float(np.max(np.abs(expected - output), initial=0.0))
    return ParityResult(
        artifact=artifact,
        case=case,
        snr_db=round(snr, 2),
        max_abs=error,
        floor_db=floor,
        passed=snr >= floor,
    )


def _run(bundle: Bundle, session: Session, case: Case) -> Float32Array:
    if case.stage in ("core", "core_long", "core_static", "pre", "post"):
        return session.run(case.input)
    denoiser = Denoiser(bundle.manifest.with_high_pass(False), session, finite=False)
    return denoiser(case.input, bundle.manifest.sample_rate, case.stage == "pipeline")


def _check_surroundings(bundle: Bundle, cases: list[Case]) -> Iterator[ParityResult]:
    """Compare what surrounds the core in NumPy: STFT, high-pass, and the level of streams."""
    for case in cases:
        op = surrounding_op(bundle.manifest, case.stage, case.name)
        if op is not None:
            name, run = op
            with _comparing(bundle, case):
                expected = case.more["gains"] if case.stage == "stream" else case.output
                output = run(case.input)
            yield compare(f"{name} (numpy)", f"{case.stage}.{case.name}", expected, output, None)
