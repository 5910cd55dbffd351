"""What the manifest says about an engine once it was run."""

from collections.abc import Iterable

import msgspec

from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    EngineInfo,
    FileEntry,
    Manifest,
    ParityResult,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.errors import BundleError


def engines_run(manifest: Manifest, results: Iterable[ParityResult]) -> tuple[ParityResult, ...]:
    """The results that are of engines."""
    engines = {entry.path for entry in manifest.files if entry.engine is not None}
    return tuple(result for result in results if result.artifact.split(" ")[0] in engines)


def record_runs(bundle: Bundle, results: Iterable[ParityResult], gpu: str) -> Manifest:
    """Write into the manifest what engines of the bundle gave on a GPU of this name.

    Results of other files are left out: they say nothing new. Gives the manifest as it is now.
    Raises BundleError where it cannot be written.
    """
    ran = engines_run(bundle.manifest, results)
    files = tuple(_described(entry, ran, gpu) for entry in bundle.manifest.files)
    recorded = msgspec.structs.replace(bundle.manifest, files=files).with_parity(ran)
    path = bundle.path / MANIFEST_NAME
    try:
        replace_file(path, recorded.to_json())
    except OSError as error:
        raise BundleError(
            f"{path}: the results cannot be written ({error.strerror}); verify a copy of the bundle"
        ) from error
    return recorded


def _described(entry: FileEntry, ran: tuple[ParityResult, ...], gpu: str) -> FileEntry:
    own = [result for result in ran if result.artifact.split(" ")[0] == entry.path]
    if entry.engine is None or not own:
        return entry
    return msgspec.structs.replace(entry, engine=_after_run(entry.engine, own, gpu))


def _after_run(engine: EngineInfo, own: list[ParityResult], gpu: str) -> EngineInfo:
    missed = [result for result in own if not result.passed]
    worst = min(result.snr_db for result in own)
    outcome = (
        f"{len(missed)} of {len(own)} comparisons with the reference missed their floor"
        if missed
        else f"passed all {len(own)} comparisons with the reference"
    )
    return msgspec.structs.replace(
        engine,
        verified_on=None if missed else gpu,
        verification=f"Run on {gpu}: {outcome}; the worst is {worst:.1f} dB. Its speed is not part "
        "of this check.",
    )
