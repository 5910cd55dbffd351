"""What `frcrn-export verify` does: the bundle's own vectors, and the live network where it can."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import Manifest, ParityResult
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, sha256_of
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.verify.parity import check_bundle


@dataclass(frozen=True)
class ParityReport:
    """All comparisons, the files that none was made of, and why the live network took no part.

    `engines` says of each engine what is proven of it.
    """

    results: tuple[ParityResult, ...]
    unchecked: tuple[str, ...]
    why_not_live: str
    engines: dict[str, str]

    @property
    def live(self) -> bool:
        """Whether the live reference network was compared."""
        return not self.why_not_live


def verify_bundle(
    path: Path,
    backends: tuple[str, ...] = (),
    checkpoint: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> ParityReport:
    """Compare every artifact of a bundle with its parity vectors and, if possible, live.

    What engines gave is written into the manifest. Raises BundleError for a bundle that was altered
    or cannot be written, UserError for another checkpoint than the one it was made from.
    """
    progress("checking the files")
    bundle = open_bundle(path)
    if checkpoint is not None:
        require_same_checkpoint(bundle.manifest, checkpoint)
    progress("comparing with the reference outputs")
    results = tuple(check_bundle(bundle, backends))
    unchecked = _unchecked(bundle, results)
    why_not = why_not_live(bundle.manifest, checkpoint)
    if not why_not:
        progress("comparing with the live network")
        results = (*results, *_live(bundle, backends, checkpoint))
    return ParityReport(results, unchecked, why_not, _record_engines(bundle, results))


def _live(
    bundle: Bundle, backends: tuple[str, ...], checkpoint: Path | None
) -> tuple[ParityResult, ...]:
    from frcrn_export.exporters.live_parity import check_live
    from frcrn_export.exporters.loading import load_bundled

    model = load_bundled(bundle.manifest, checkpoint)
    return tuple(check_live(bundle, model, backends))


def _record_engines(bundle: Bundle, results: tuple[ParityResult, ...]) -> dict[str, str]:
    """What is proven of each engine, written into the manifest where one was run."""
    from frcrn_export.runtime.verify.engine_status import engines_run, record_runs

    if not engines_run(bundle.manifest, results):
        return {e.path: e.engine.proof for e in bundle.manifest.files if e.engine is not None}
    from frcrn_export.runtime.gpu import first_gpu

    recorded = record_runs(bundle, results, first_gpu().name)
    return {e.path: e.engine.proof for e in recorded.files if e.engine is not None}


def require_parity(results: tuple[ParityResult, ...]) -> None:
    """Raise CheckFailed naming the worst miss, if there is one."""
    missed = [result for result in results if not result.passed]
    if missed:
        worst = min(missed, key=lambda result: result.snr_db)
        raise CheckFailed(
            f"{len(missed)} of {len(results)} comparisons with the reference missed; the worst is "
            f"{worst.artifact}, {worst.case}: {worst.snr_db:.1f} dB, at least "
            f"{worst.floor_db:.0f} dB needed"
        )


def require_same_checkpoint(manifest: Manifest, checkpoint: Path) -> None:
    """Raise UserError for another checkpoint than the one a bundle was made from."""
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such file; give the checkpoint with --checkpoint")
    if sha256_of(checkpoint) != manifest.weights.sha256:
        raise UserError(
            f"{checkpoint}: not the file this bundle was made from "
            f"({manifest.weights.name}); leave out --checkpoint or give that one"
        )


def _unchecked(bundle: Bundle, results: tuple[ParityResult, ...]) -> tuple[str, ...]:
    """The artifacts without a comparison. Raises UserError if that is all of them."""
    checked = {result.artifact.split(" ")[0] for result in results}
    apart = ("parity", "layers", "report")
    files = [entry.path for entry in bundle.manifest.files if entry.role not in apart]
    if not checked.intersection(files):
        raise UserError(
            f"{bundle.path}: no installed backend runs {', '.join(files)}; run: frcrn-export doctor"
        )
    return tuple(path for path in files if path not in checked)


def why_not_live(manifest: Manifest, checkpoint: Path | None) -> str:
    """Why the network that a bundle was made from cannot be had here; empty where it can."""
    if find_spec("torch") is None:
        return "torch is not installed"
    weights = manifest.weights
    if checkpoint is not None or weights.source == "random":
        return ""
    from frcrn_export.exporters.loading import weights_at_hand

    found = weights_at_hand(manifest.model)
    if found is None or sha256_of(found) != weights.sha256:
        return f"the weights {weights.name} are not at hand (give them with --checkpoint)"
    return ""
