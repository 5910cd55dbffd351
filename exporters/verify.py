"""Verification: the bundle's own vectors, and the reference network where it is available.

The vectors need neither PyTorch nor a registered model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.manifest import Manifest, ParityResult
from frcrn_export.runtime.bundle.module_command import module_of
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, path_of, sha256_of
from frcrn_export.runtime.bundle.remedies import with_fp16
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.sessions.registry import RUNS_CODE
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.parity import check_bundle

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel


@dataclass(frozen=True)
class ParityReport:
    """All comparisons, the files without one, and why the reference network was not available.

    `engines` has the verification status of each engine, `remedy` how to compare other files.
    """

    manifest: Manifest
    results: tuple[ParityResult, ...]
    unchecked: tuple[str, ...]
    remedy: str
    why_no_reference: str
    engines: dict[str, str]

    @property
    def reference(self) -> bool:
        """Whether the reference network itself was compared, not only its stored outputs."""
        return not self.why_no_reference

    @property
    def passed(self) -> bool:
        """Whether every comparison reached its floor."""
        return all(result.passed for result in self.results)


def verify(
    bundle: Bundle | Path | str,
    *,
    backends: Sequence[str] = (),
    checkpoint: Path | str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> ParityReport:
    """Compare every artifact of a bundle with the PyTorch reference.

    Compares with the reference outputs in the bundle, and where the weights are available also with
    the reference network, at lengths that were not traced. The results of engines are written into
    the manifest.

    Example:
        >>> report = frcrn_export.verify("wave")
        >>> report.passed, report.reference
        (True, True)

    Args:
        bundle: A bundle.
        backends: Names in `frcrn_export.runtime.sessions.BACKENDS`. Empty: an installed one for
            each artifact.
        checkpoint: The bundle's weights file, where the bundle does not say where its weights are.
        progress: Called with a description of the current step.

    Returns:
        Every comparison with its SNR in dB, floor and largest absolute error, and the files that
        were not compared. A failed comparison is in the report; it does not raise.

    Raises:
        BundleError: The bundle was altered, or cannot be read or written.
        BackendError: A named backend cannot run here.
        UserError: No artifact can run here; a checkpoint that does not match the manifest.
    """
    progress("checking the files")
    opened = open_bundle(path_of(bundle))
    weights = None if checkpoint is None else Path(checkpoint)
    names = tuple(backends)
    if weights is not None:
        require_same_checkpoint(opened.manifest, weights)
    progress("comparing with the reference outputs")
    results = tuple(check_bundle(opened, names))
    unchecked = _unchecked(opened, results)
    why_not = why_no_reference(opened.manifest, weights)
    if not why_not:
        progress("comparing with the reference network")
        results = (*results, *_reference(opened, names, weights))
    engines = _record_engines(opened, results)
    remedy = how_to_check(opened, unchecked)
    return ParityReport(opened.manifest, results, unchecked, remedy, why_not, engines)


def _reference(
    bundle: Bundle, backends: tuple[str, ...], checkpoint: Path | None
) -> tuple[ParityResult, ...]:
    from frcrn_export.exporters.loading import load_bundled
    from frcrn_export.exporters.reference_parity import check_reference
    from frcrn_export.exporters.streaming_export import StreamingForms

    model = load_bundled(bundle.manifest, checkpoint)
    return tuple(check_reference(bundle, StreamingForms(model), backends))


def _record_engines(bundle: Bundle, results: tuple[ParityResult, ...]) -> dict[str, str]:
    """The verification status of each engine; writes it into the manifest if one was run."""
    from frcrn_export.runtime.verify.engine_status import engines_run, record_runs

    if not engines_run(bundle.manifest, results):
        return {
            e.path: e.engine.verification for e in bundle.manifest.files if e.engine is not None
        }
    from frcrn_export.runtime.gpu import first_gpu

    recorded = record_runs(bundle, results, first_gpu().name)
    return {e.path: e.engine.verification for e in recorded.files if e.engine is not None}


def require_parity(results: tuple[ParityResult, ...]) -> None:
    """Raise CheckFailed that names the worst failed comparison, if there is one."""
    missed = [result for result in results if not result.passed]
    if missed:
        worst = min(missed, key=lambda result: result.snr_db)
        raise CheckFailed(
            f"{len(missed)} of {len(results)} comparisons with the reference missed; the worst is "
            f"{worst.artifact}, {worst.case}: {worst.snr_db:.1f} dB, at least "
            f"{worst.floor_db:.0f} dB needed"
        )


def require_same_checkpoint(manifest: Manifest, checkpoint: Path) -> None:
    """Raise UserError where a checkpoint does not match the manifest."""
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such file; give the checkpoint with --checkpoint")
    if sha256_of(checkpoint) != manifest.weights.sha256:
        raise UserError(
            f"{checkpoint}: not the file this bundle was made from "
            f"({manifest.weights.name}); leave out --checkpoint or give that one"
        )


def _unchecked(bundle: Bundle, results: tuple[ParityResult, ...]) -> tuple[str, ...]:
    """The artifacts without a comparison. Raises UserError if none has one."""
    checked = {result.artifact.split(" ")[0] for result in results}
    apart = ("parity", "layers", "context", "report")
    files = [entry.path for entry in bundle.manifest.files if entry.role not in apart]
    if not checked.intersection(files):
        raise UserError(
            f"{bundle.path}: {', '.join(files)}: not compared; {how_to_check(bundle, files)}"
        )
    return tuple(path for path in files if path not in checked)


def how_to_check(bundle: Bundle, unchecked: Sequence[str]) -> str:
    """How to compare files that no backend was tried on, or that none here runs."""
    scripts = [e.path for e in bundle.manifest.files if e.format == "torchscript"]
    ways = []
    if any(path in scripts for path in unchecked):
        command = f"frcrn-export verify {quoted(bundle.path)} --backend torchscript"
        ways.append(f"{RUNS_CODE}, if you trust it run: {command}")
    if any(path not in scripts for path in unchecked):
        ways.append("no installed backend runs it, see: frcrn-export doctor")
    return "; ".join(ways)


def why_no_reference(manifest: Manifest, checkpoint: Path | None) -> str:
    """Why the reference network of a bundle is not available here; empty where it is."""
    if find_spec("torch") is None:
        return "torch is not installed"
    if (module := module_of(manifest)) is not None:
        return f"a bundle does not hold the code of your own module {module}"
    from frcrn_export.exporters.registry import models

    if manifest.model not in models():
        return f"the model {manifest.model} is not registered here (see: frcrn-export models)"
    weights = manifest.weights
    if checkpoint is not None or weights.are_random:
        return ""
    from frcrn_export.exporters.loading import weights_at_hand

    found = weights_at_hand(manifest.model)
    if found is None or sha256_of(found) != weights.sha256:
        return f"the weights {weights.name} are not at hand (give them with --checkpoint)"
    return ""


def _remedy(manifest: Manifest, command: str) -> str:
    """What to run where the network is not at hand; empty where no command helps."""
    if module_of(manifest) is not None:
        return f"; run: {with_fp16(manifest)}"
    if find_spec("torch") is None:
        return f'; run: pip install "frcrn-export[export]" && {command}'
    from frcrn_export.exporters.registry import models

    spec = models().get(manifest.model)
    if spec is None:
        return ""
    if spec.published is not None and spec.published.sha256 == manifest.weights.sha256:
        return f"; run: frcrn-export fetch {spec.name} && {command}"
    return f"; run: {command} --checkpoint {quoted(manifest.weights.name)}"


def load_reference(
    manifest: Manifest, checkpoint: Path | None, reason: str, command: str
) -> "LoadedModel":
    """The reference model of a bundle, from `checkpoint` if the bundle does not locate its weights.

    Raises UserError for a checkpoint that does not match, and for missing weights; that message
    begins with `reason`, which says why they are needed, and ends with the command that helps.
    `command` is the one that needs the network, without --checkpoint.
    """
    if checkpoint is not None:
        require_same_checkpoint(manifest, checkpoint)
    if why := why_no_reference(manifest, checkpoint):
        raise UserError(f"{reason}, and {why}{_remedy(manifest, command)}")
    from frcrn_export.exporters.loading import load_bundled

    return load_bundled(manifest, checkpoint)
