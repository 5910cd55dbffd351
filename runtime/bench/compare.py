"""Base against new: counters, parity, quality and times."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frcrn_export.runtime.bench.cases import Wanted
from frcrn_export.runtime.bench.changes import QualityChange, counter_changes, parity_changes
from frcrn_export.runtime.bench.comparison import Comparison, Limits, RowVerdict
from frcrn_export.runtime.bench.counters import count
from frcrn_export.runtime.bench.machine import Machine, this_machine
from frcrn_export.runtime.bench.measure import Progress
from frcrn_export.runtime.bench.paired import Timer, compare_times
from frcrn_export.runtime.bench.quality import PairSignals, quality_changes
from frcrn_export.runtime.bench.result import FileCounters, Result
from frcrn_export.runtime.bench.unpaired import narrowed, unpaired_rows
from frcrn_export.runtime.bench.verdict import require_scipy
from frcrn_export.runtime.bundle.manifest import ParityResult
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.text import quoted, shown
from frcrn_export.runtime.verify.parity import stored_parity

BUDGET_SECONDS = 120.0
# Short calls, for many blocks: a second of audio, and a hop.
WANTED = Wanted(kinds=("offline", "hop"), threads=(1,), lengths=(1.0,))
ALL_ROWS = Wanted()
LIMITS = Limits()


@dataclass(frozen=True)
class Side:
    """What is exact of one side."""

    name: str
    model: str
    weights: str
    tools: Mapping[str, str]
    machine: Machine
    files: Sequence[FileCounters]
    parity: Sequence[ParityResult]


def compare_bundles(
    base: Bundle | Path | str,
    new: Bundle | Path | str,
    wanted: Wanted = WANTED,
    *,
    limits: Limits = LIMITS,
    budget: float = BUDGET_SECONDS,
    pairs: Sequence[PairSignals] = (),
    seed: int = 0,
    progress: Progress = lambda what, done, all_: None,
) -> Comparison:
    """Compare two bundles of one model on this machine.

    Example:
        >>> found = frcrn_export.compare_bundles("wave", "wave", budget=0)  # times nothing
        >>> found.failures
        ()

    Args:
        base: What there was: a bundle, or its folder.
        new: What there will be.
        wanted: The rows to time; without kinds none.
        limits: What is accepted.
        budget: Seconds that a row may take until its verdict; 0 times nothing.
        pairs: Noisy and clean speech [N] at the bundles' rate, for SI-SDR.
        seed: Of the order of visits and the bootstrap.
        progress: Called with what is measured, the rows done, and their number.

    Returns:
        The comparison; its `failures` are empty where all is well.

    Raises:
        UserError: Bundles of two models, nothing to time, or a package is missing.
        BackendError: A backend that is unknown or not installed.
        BundleError: A file that cannot be read.
    """
    base, new = (each if isinstance(each, Bundle) else open_bundle(each) for each in (base, new))
    names = str(base.path), str(new.path)
    _require_one_model(names, (base.manifest.model, new.manifest.model))
    if budget > 0:
        require_scipy()
    before, after = (_side(bundle, progress) for bundle in (base, new))
    rows: list[RowVerdict] = []
    notes: list[str] = []
    if budget > 0:
        timer = Timer(base, new, limits.max_slowdown, budget, seed)
        rows, notes = compare_times(timer, wanted, progress)
    quality = list(quality_changes(base, new, pairs, limits.max_drift_db))
    return _comparison(before, after, limits, rows, notes, quality)


def compare_results(
    base: Result,
    new: Result,
    names: tuple[str, str],
    limits: Limits,
    wanted: Wanted = ALL_ROWS,
) -> Comparison:
    """Compare two results, whose times were measured apart.

    Args:
        base: What there was.
        new: What there is.
        names: Of both, for the reader.
        limits: What is accepted.
        wanted: The rows to compare, by file, backend and threads.

    Raises:
        UserError: Results of two models, or none of the wanted rows in either.
    """
    _require_one_model(names, (base.model, new.model))
    base, new = narrowed((base, new), wanted)
    before, after = (
        Side(
            name=name,
            model=each.model,
            weights=each.weights_sha256 or each.weights,
            tools=each.tools,
            machine=each.machine,
            files=each.files,
            parity=each.parity,
        )
        for name, each in zip(names, (base, new), strict=True)
    )
    rows = list(unpaired_rows(base, new, limits.max_slowdown))
    notes = []
    if rows and not base.machine.times_as(new.machine):
        notes.append(
            f"measured on two machines ({base.machine.processor}; {new.machine.processor}): ratios "
            "are to the anchor of each and decide nothing; for a verdict compare the bundles: "
            "frcrn-export compare BASE_BUNDLE NEW_BUNDLE"
        )
    if bool(base.rows) != bool(new.rows):
        without = names[0] if new.rows else names[1]
        notes.append(f"{shown(without)} has no times: none were compared")
    return _comparison(before, after, limits, rows, notes, [])


def _require_one_model(names: tuple[str, str], models: tuple[str, str]) -> None:
    if models[0] != models[1]:
        raise UserError(
            f"{names[0]} is of {shown(models[0])}, {names[1]} of {shown(models[1])}; compare "
            f"versions of one model, or look at each: frcrn-export inspect {quoted(names[1])}"
        )


def _side(bundle: Bundle, progress: Progress) -> Side:
    progress(f"counters and parity of {bundle.path}", 0, 0)
    manifest = bundle.manifest
    return Side(
        name=str(bundle.path),
        model=manifest.model,
        weights=manifest.weights.sha256 or manifest.weights.name,
        tools=manifest.tools,
        machine=this_machine(),
        files=list(count(bundle)),
        parity=stored_parity(bundle),
    )


def _comparison(
    base: Side,
    new: Side,
    limits: Limits,
    rows: Sequence[RowVerdict],
    notes: Sequence[str],
    quality: Sequence[QualityChange],
) -> Comparison:
    same_kernels = base.machine.runs_the_kernels_of(new.machine)
    files = {each.path for each in new.files}
    lost = {each.path for each in base.files} - files
    return Comparison(
        base=base.name,
        new=new.name,
        model=new.model,
        base_weights=base.weights,
        new_weights=new.weights,
        machine=new.machine,
        max_slowdown=limits.max_slowdown,
        files=len(files),
        counters=tuple(
            counter_changes(
                base.files,
                new.files,
                max_growth=limits.max_growth,
                exact=limits.exact,
                same_kernels=same_kernels,
            )
        ),
        parity=tuple(
            parity_changes(
                [each for each in base.parity if each.artifact not in lost],
                new.parity,
                max_drift_db=limits.max_drift_db,
                judge_drift=same_kernels and base.weights == new.weights,
            )
        ),
        quality=tuple(quality),
        rows=tuple(rows),
        notes=tuple(dict.fromkeys((*notes, *_notes(base, new, same_kernels, bool(quality))))),
    )


def _notes(base: Side, new: Side, same_kernels: bool, has_quality: bool) -> Iterator[str]:
    """What the two sides do not share, and what could not be compared for it."""
    if not same_kernels:
        yield (
            "another ONNX Runtime or processor than the base's: the files are compared, not the "
            "graphs as they run, and parity with its floors alone"
        )
    if base.weights != new.weights:
        add = "" if has_quality else "; for the quality of both add --pairs FOLDER"
        yield f"other weights than the base's: parity is compared with its floors alone{add}"
    if base.tools and new.tools and base.tools != new.tools:
        other = [
            f"{name} {new.tools.get(name, '-')} (base: {base.tools.get(name, '-')})"
            for name in sorted({*base.tools, *new.tools})
            if base.tools.get(name) != new.tools.get(name)
        ]
        yield f"exported with other versions than the base: {shown(', '.join(other))}"
    if not new.parity:
        yield (
            f"{shown(new.name)} has no parity vectors: what it computes was not compared; export "
            "it again to have them"
        )
