"""The files of a bundle that a target runs, and the command that makes the ones it lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    FileEntry,
    Manifest,
    Precision,
    Role,
    Target,
)
from frcrn_export.runtime.bundle.parse import named_files
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import (
    calibrate_command,
    first_engine,
    onnx_command,
    streaming_hint,
)
from frcrn_export.runtime.errors import BundleError, UserError
from frcrn_export.runtime.pack.target import EngineTarget
from frcrn_export.runtime.sessions.choose import UNASKED, engine_rank, runs_on

# How audio comes: whole recordings, or a stream.
Use = Literal["offline", "streaming"]
_ROLES: dict[Use, tuple[Role, ...]] = {
    "offline": ("core", "pipeline"),
    "streaming": ("core_streaming",),
}
# What ONNX Runtime runs on a processor; float16 and FP8 files are for GPUs.
_ON_PROCESSORS: tuple[Precision, ...] = ("fp32", "int8")


@dataclass(frozen=True)
class Wanted:
    """What a pack is for. `target` None is a processor.

    `uses` empty: all that the bundle has. `precision` None is what runs unasked: float32, and of
    engines float16 first.
    """

    target: EngineTarget | None
    uses: tuple[Use, ...] = ()
    precision: Precision | None = None


def select_files(bundle: Bundle, wanted: Wanted) -> tuple[FileEntry, ...]:
    """The files that the target runs, and those that are read with them, in the bundle's order.

    Raises BundleError where the bundle has none, with the command that makes one, and UserError for
    a precision that the target does not run.
    """
    if wanted.target is None and wanted.precision not in (None, *_ON_PROCESSORS):
        raise UserError(
            f"{wanted.precision} files are for GPUs, a processor runs "
            f"{' and '.join(_ON_PROCESSORS)}; leave out --precision {wanted.precision}"
        )
    run: list[FileEntry] = []
    for use in wanted.uses or _ROLES:
        found = _files(bundle.manifest, wanted, use)
        if wanted.uses and not found:
            raise _missing(bundle, wanted, use)
        run += found
    if not run:
        raise _missing(bundle, wanted, "offline")
    read = {path for entry in run for path in _read_with(entry)}
    return tuple(e for e in bundle.manifest.files if e in run or e.path in read)


def _files(manifest: Manifest, wanted: Wanted, use: Use) -> Sequence[FileEntry]:
    if wanted.target is None:
        return _for_processors(manifest, wanted.precision or "fp32", use)
    precisions = UNASKED if wanted.precision is None else (wanted.precision,)
    engines = [
        entry
        for entry in manifest.files
        if entry.engine is not None
        and entry.engine.backend == wanted.target.backend
        and runs_on(entry.engine, wanted.target.sm)
        and entry.role in _ROLES[use]
        and entry.precision in precisions
    ]
    best: dict[int, FileEntry] = {}  # by the number of streams that they take
    for entry in sorted(engines, key=lambda e: (_ROLES[use].index(e.role), *engine_rank(e))):
        assert entry.engine is not None
        streams = entry.engine.profile.max[0] if use == "streaming" else 1
        best.setdefault(streams, entry)
    return list(best.values())


def _for_processors(manifest: Manifest, precision: Precision, use: Use) -> list[FileEntry]:
    quantized_for: Target | None = "cpu" if precision in QUANTIZED else None
    files = (manifest.file(role, "onnx", precision, quantized_for) for role in _ROLES[use])
    found = next(filter(None, files), None)
    if found is None:
        return []
    # Float32 alone changes to the long form.
    long = manifest.file("core_long", "onnx") if found.role == "core" else None
    return [found, long] if long is not None and precision == "fp32" else [found]


def _read_with(entry: FileEntry) -> Iterator[str]:
    yield from named_files(entry)
    if entry.engine is not None and entry.engine.stripped:  # it takes its weights from there
        yield entry.engine.source


def _missing(bundle: Bundle, wanted: Wanted, use: Use) -> BundleError:
    target, streaming = wanted.target, use == "streaming"
    files = f"{target.backend} engine for sm{target.sm}" if target else "ONNX file for processors"
    kind = " ".join(filter(None, (wanted.precision, "streaming" * streaming, files)))
    return BundleError(f"{bundle.path}: no {kind} in this bundle; {_remedy(bundle, wanted, use)}")


def _remedy(bundle: Bundle, wanted: Wanted, use: Use) -> str:
    manifest, target, role = bundle.manifest, wanted.target, _ROLES[use][0]
    streaming = use == "streaming"
    if target is not None:
        precision, gpu = wanted.precision or UNASKED[0], f"sm{target.sm}"
        command = first_engine(bundle.path, manifest, precision, target.backend, role=role, gpu=gpu)
    elif wanted.precision in QUANTIZED and manifest.file(role, "onnx") is not None:
        command = calibrate_command(bundle.path, "cpu", streaming=streaming)
    elif streaming:
        return streaming_hint(manifest)
    else:
        command = onnx_command(manifest)
    return f"run: {command}"
