"""What `frcrn-export verify` does: the bundle's own vectors; the network itself where it is here.

The vectors need no PyTorch, and no model that is registered here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.manifest import Manifest, ParityResult
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, sha256_of
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.sessions.registry import RUNS_CODE
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.parity import check_bundle

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel


@dataclass(frozen=True)
class ParityReport:
    """All comparisons, the files that none was made of, and why there was no reference network.

    `engines` says of each engine what is proven of it, `remedy` how to compare what was not.
    """

    manifest: Manifest
    results: tuple[ParityResult, ...]
    unchecked: tuple[str, ...]
    remedy: str
    why_no_reference: str
    engines: dict[str, str]

    @property
    def reference(self) -> bool:
        """Whether the reference network itself was compared, not its stored outputs alone."""
        return not self.why_no_reference


def verify_bundle(
    path: Path,
    backends: tuple[str, ...] = (),
    checkpoint: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> ParityReport:
    """Compare every artifact of a bundle with its parity vectors and, if it is here, the network.

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
    why_not = why_no_reference(bundle.manifest, checkpoint)
    if not why_not:
        progress("comparing with the reference network")
        results = (*results, *_reference(bundle, backends, checkpoint))
    engines = _record_engines(bundle, results)
    remedy = how_to_check(bundle, unchecked)
    return ParityReport(bundle.manifest, results, unchecked, remedy, why_not, engines)


def _reference(
    bundle: Bundle, backends: tuple[str, ...], checkpoint: Path | None
) -> tuple[ParityResult, ...]:
    from frcrn_export.exporters.loading import load_bundled
    from frcrn_export.exporters.reference_parity import check_reference

    model = load_bundled(bundle.manifest, checkpoint)
    return tuple(check_reference(bundle, model, backends))


def _record_engines(bundle: Bundle, results: tuple[ParityResult, ...]) -> dict[str, str]:
    """What is proven of each engine, written into the manifest where one was run."""
    from frcrn_export.runtime.verify.engine_status import engines_run, record_runs

    if not engines_run(bundle.manifest, results):
        return {
            e.path: e.engine.verification for e in bundle.manifest.files if e.engine is not None
        }
    from frcrn_export.runtime.gpu import first_gpu

    recorded = record_runs(bundle, results, first_gpu().name)
    return {e.path: e.engine.verification for e in recorded.files if e.engine is not None}


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
            f"{bundle.path}: {', '.join(files)}: not compared; {how_to_check(bundle, files)}"
        )
    return tuple(path for path in files if path not in checked)


def how_to_check(bundle: Bundle, unchecked: Sequence[str]) -> str:
    """What to do about files that no backend was tried on, or that none here runs."""
    scripts = [e.path for e in bundle.manifest.files if e.format == "torchscript"]
    ways = []
    if any(path in scripts for path in unchecked):
        command = f"frcrn-export verify {quoted(bundle.path)} --backend torchscript"
        ways.append(f"{RUNS_CODE}, if you trust it run: {command}")
    if any(path not in scripts for path in unchecked):
        ways.append("no installed backend runs it, see: frcrn-export doctor")
    return "; ".join(ways)


def why_no_reference(manifest: Manifest, checkpoint: Path | None) -> str:
    """Why the network that a bundle was made from cannot be had here; empty where it can."""
    if find_spec("torch") is None:
        return "torch is not installed"
    from frcrn_export.exporters.registry import models

    if manifest.model not in models():
        return f"the model {manifest.model} is not registered here (see: frcrn-export models)"
    weights = manifest.weights
    if checkpoint is not None or weights.source == "random":
        return ""
    from frcrn_export.exporters.loading import weights_at_hand

    found = weights_at_hand(manifest.model)
    if found is None or sha256_of(found) != weights.sha256:
        return f"the weights {weights.name} are not at hand (give them with --checkpoint)"
    return ""


def load_reference(manifest: Manifest, checkpoint: Path | None, reason: str) -> "LoadedModel":
    """The network with its weights, which `checkpoint` holds if the bundle does not say where.

    Raises UserError for another checkpoint, and where they are not here: `reason`, which says why
    they are needed, begins its message.
    """
    if checkpoint is not None:
        require_same_checkpoint(manifest, checkpoint)
    if why := why_no_reference(manifest, checkpoint):
        raise UserError(f"{reason}, and {why}")
    from frcrn_export.exporters.loading import load_bundled, quieten_torch

    quieten_torch()
    return load_bundled(manifest, checkpoint)
