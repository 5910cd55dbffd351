"""Which engine of a bundle a flavour runs on the GPU that is here."""

from frcrn_export.runtime.bundle.manifest import EngineInfo, FileEntry, Flavor, Precision, Role
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import first_gpu

# What may run without being asked for, the best first. Not INT8 and FP8, they trade quality away.
_PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")
_ROLES: tuple[Role, ...] = ("core", "pipeline")


def runs_on(info: EngineInfo, sm: int) -> bool:
    """Whether an engine runs on GPUs of this compute capability."""
    return info.sm == sm or (info.hardware_compatible and sm > info.sm)


def engine_entries(bundle: Bundle, flavor: Flavor) -> list[FileEntry]:
    """The engines of a flavour that the GPU here runs; all of them if it runs none, or is none.

    (Opening one of those says what is wrong.)
    """
    entries = [e for e in bundle.manifest.files if e.engine and e.engine.flavor == flavor]
    try:
        sm = first_gpu().sm if entries else 0
    except BackendError:
        return entries
    return [e for e in entries if e.engine and runs_on(e.engine, sm)] or entries


def choose_engine(
    bundle: Bundle, flavor: Flavor, precision: Precision | None = None
) -> FileEntry | None:
    """The engine to denoise with, one for this very GPU first.

    Without a precision half before single; INT8 and FP8 are never chosen then.
    """
    entries = _entries(bundle, flavor, _ROLES, precision)
    return min(entries, key=_rank, default=None)


def choose_streaming_engine(
    bundle: Bundle, flavor: Flavor, batch: int, precision: Precision | None = None
) -> FileEntry | None:
    """The engine for `batch` streams at once, else one for another number; chosen as above."""
    entries = _entries(bundle, flavor, ("core_streaming",), precision)
    return min(entries, key=lambda e: (_streams(e) != batch, *_speed(e)), default=None)


def _entries(
    bundle: Bundle, flavor: Flavor, roles: tuple[Role, ...], precision: Precision | None
) -> list[FileEntry]:
    precisions = _PRECISIONS if precision is None else (precision,)
    return [
        entry
        for entry in engine_entries(bundle, flavor)
        if entry.role in roles and entry.precision in precisions
    ]


def _streams(entry: FileEntry) -> int:
    assert entry.engine is not None
    return entry.engine.profile.max[0]


def _rank(entry: FileEntry) -> tuple[int, bool, int]:
    return _ROLES.index(entry.role), *_speed(entry)


def _speed(entry: FileEntry) -> tuple[bool, bool]:
    assert entry.engine is not None
    # Hardware-compatible engines are slower.
    return entry.engine.hardware_compatible, entry.precision != _PRECISIONS[0]
