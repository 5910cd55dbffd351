"""The verification status of an engine in the manifest, after a run."""

from collections.abc import Iterable

import msgspec

from frcrn_export.runtime.bundle.manifest import (
    EngineInfo,
    FileEntry,
    Manifest,
    ParityResult,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.transaction import transaction
from frcrn_export.runtime.errors import BundleError, UserError


def engines_run(manifest: Manifest, results: Iterable[ParityResult]) -> tuple[ParityResult, ...]:
    """The results of engines."""
    engines = {entry.path for entry in manifest.files if entry.engine is not None}
    return tuple(result for result in results if result.artifact.split(" ")[0] in engines)


def record_runs(bundle: Bundle, results: Iterable[ParityResult], gpu: str) -> Manifest:
    """Record in the manifest the parity of the bundle's engines on a GPU of this name.

    Results of other files are left out: they are known. Gives the new manifest. Raises BundleError
    where it cannot be written.
    """
    ran = engines_run(bundle.manifest, results)

    def recorded(present: Manifest) -> Manifest:
        """The manifest with the results of engines that have not changed since the run."""
        hashes = {entry.path: entry.sha256 for entry in present.files}
        same = {e.path for e in bundle.manifest.files if hashes.get(e.path) == e.sha256}
        now = tuple(result for result in ran if result.artifact.split(" ")[0] in same)
        files = tuple(_described(entry, now, gpu) for entry in present.files)
        return msgspec.structs.replace(present, files=files).with_parity(now)

    try:
        with transaction(bundle.path) as work:
            return work.update(recorded).manifest
    except UserError as error:
        raise BundleError(f"{error}; the results are not kept: verify a copy of it") from error


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
