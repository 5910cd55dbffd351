"""Calibration: add an INT8 or FP8 core that passes its gates to a bundle."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.int8_gates import failures, passed, quality_gates, speed_gate
from frcrn_export.calibration.int8_report import Report, WorstClip
from frcrn_export.calibration.plan import Plan, Settings, make_plan
from frcrn_export.calibration.quality.scoring import require_packages
from frcrn_export.calibration.quality_scores import METRICS, Evaluator, Quality, evaluating
from frcrn_export.calibration.quantizers import SignalQuantizer
from frcrn_export.calibration.result import add_to_bundle, make_report
from frcrn_export.calibration.search import SnrOf, find_names
from frcrn_export.calibration.settings import CLIPS, METHOD, MINUTES, Progress
from frcrn_export.calibration.source import int8_name
from frcrn_export.calibration.speed import Speed, measure_speed
from frcrn_export.calibration.switches import SwitchedCore
from frcrn_export.runtime.audio.pairs import Pair
from frcrn_export.runtime.bundle.manifest import CalibrationMethod, GateResult, Target
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, path_of
from frcrn_export.runtime.drawing import require_matplotlib
from frcrn_export.runtime.errors import CheckFailed, UserError

_SENSITIVITY_PAIRS = 2  # the shortest: little audio shows the noise of a single layer


def calibrate(
    bundle: Bundle | Path | str,
    recordings: Path | str | Sequence[Path | str],
    *,
    target: Target = "tensorrt",
    precision: QuantizedPrecision = "int8",
    streaming: bool = False,
    pairs: Path | str | None = None,
    method: CalibrationMethod = METHOD,
    clips: int = CLIPS,
    seed: int = 0,
    auto: bool = False,
    minutes: float = MINUTES,
    allow_slower: bool = False,
    threads: int | None = None,
    checkpoint: Path | str | None = None,
    force: bool = False,
    progress: Progress = lambda phase, done, steps: None,
) -> Report:
    """Add an INT8 or FP8 core to a bundle, calibrated on recordings, if it passes its gates.

    Example:
        >>> report = frcrn_export.calibrate("wave", "recordings", target="cpu")
        >>> [gate.name for gate in report.quantization.gates if gate.passed is False]
        []

    Args:
        bundle: A bundle with a float32 ONNX core. For TensorRT a missing float16 core is added
            first.
        recordings: Folders of noisy speech at any rate, as it will be denoised.
        target: "tensorrt", or "cpu" for ONNX Runtime on processors with VNNI.
        precision: "int8", or for TensorRT "fp8".
        streaming: Calibrate the streaming core, by streaming.
        pairs: The evaluation pairs of the gates: a folder with NAME.noisy.* and NAME.clean.*, none
            of them among the recordings. None is the packaged recording.
        method: The calibration method: "minmax", "percentile", "entropy" or "mse".
        clips: The number of recordings to use, spread evenly over level and noise.
        seed: Of the selection of clips.
        auto: If a quality gate fails, let layers fall back to float until it passes.
        minutes: Time limit for the measurement of sensitivities by `auto`.
        allow_slower: Keep a file that is not faster than float32.
        threads: Limit of processor threads; None is the backend's own choice.
        checkpoint: The weights file, where the reference network is needed and the bundle does not
            say where its weights are.
        force: Replace an existing file.
        progress: Called with a phase, its number of steps done, and their total.

    Returns:
        The report: scores by precision, gates, speed, layers and ranges. The bundle has it as JSON,
        a Markdown page and pictures.

    Raises:
        CheckFailed: A gate failed; the bundle is unchanged, except for the float16 core.
        UserError: There is no float core, or the file exists and `force` is not given; recordings
            are unusable or among the pairs; FP8 for processors; missing weights.
        BundleError: The bundle cannot be read.
    """
    if precision == "fp8" and target == "cpu":
        raise UserError("FP8 is for TensorRT alone; take target='tensorrt', or precision='int8'")
    folders = [recordings] if isinstance(recordings, (str, Path)) else recordings
    settings = Settings(
        target=target,
        folders=tuple(map(Path, folders)),
        streaming=streaming,
        pairs=None if pairs is None else Path(pairs),
        method=method,
        count=clips,
        seed=seed,
        auto=auto,
        minutes=minutes,
        allow_slower=allow_slower,
        threads=threads,
        precision=precision,
    )
    weights = None if checkpoint is None else Path(checkpoint)
    return calibrate_with(
        path_of(bundle), settings, checkpoint=weights, force=force, progress=progress
    )


def calibrate_with(
    path: Path,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    force: bool = False,
    progress: Progress = lambda phase, done, steps: None,
) -> Report:
    """Calibrate the bundle at `path` as the settings say; see `calibrate`."""
    require_matplotlib("the report")
    require_packages(METRICS)
    bundle = open_bundle(path, int8=not force)  # the file to replace may be damaged
    if checkpoint is not None:  # even if it is not used
        from frcrn_export.exporters.verify import require_same_checkpoint

        require_same_checkpoint(bundle.manifest, checkpoint)
    name = int8_name(settings.target, settings.streaming, settings.precision)
    if any(entry.path == name for entry in bundle.manifest.files) and not force:
        raise UserError(f"{path / name} exists; add --force to replace it")
    plan = make_plan(bundle, settings, checkpoint, progress, force=force)
    with _evaluating(plan, plan.pairs, METRICS, progress) as evaluator:
        search = find_names(
            plan.quantizer.candidates,
            plan.quantized,
            evaluator,
            partial(_quality_gates, plan, evaluator),
            auto=settings.auto,
            sensitivity_meter=partial(_sensitivity_meter, plan, evaluator, progress),
            seconds=60.0 * settings.minutes,
            progress=progress,
        )
        content = plan.written(search.names)
        qualities = {
            "fp32": evaluator.float32,
            **_fp16(plan, evaluator, progress),
            settings.precision: search.quality,
        }
        speed = _speed(plan, evaluator, content, progress)
        gates = (*_quality_gates(plan, evaluator, search.quality), speed_gate(speed))
        report = make_report(plan, evaluator, search, qualities, speed, gates)
        _require(plan, gates, settings.command(path, checkpoint=checkpoint, force=force))
        worst = _worst(plan, evaluator, search.quality, content)
    add_to_bundle(plan, content, report, worst)
    return report


def _evaluating(
    plan: Plan, pairs: Sequence[Pair], metrics: tuple[str, ...], progress: Progress
) -> AbstractContextManager[Evaluator]:
    return evaluating(
        plan.bundle,
        plan.source.float32,
        pairs,
        called=plan.source.entry,
        threads=plan.settings.threads,
        metrics=metrics,
        progress=progress,
    )


@contextmanager
def _sensitivity_meter(plan: Plan, evaluator: Evaluator, progress: Progress) -> Iterator[SnrOf]:
    """The meter of sensitivities: one session for signals, a file for each layer."""
    quantizer, settings = plan.quantizer, plan.settings
    if isinstance(quantizer, SignalQuantizer):
        shortest = min(evaluator.clips, key=lambda clip: len(clip.noisy))
        yield SwitchedCore(
            quantizer.model,
            quantizer.candidates,
            plan.ranges,
            settings.method,
            manifest=plan.bundle.manifest,
            entry=plan.source.entry,
            noisy=shortest.noisy,
            threads=settings.threads,
        )
        return
    pairs = sorted(plan.pairs, key=lambda pair: pair.noisy.stat().st_size)[:_SENSITIVITY_PAIRS]
    with _evaluating(plan, pairs, (), progress) as quick:

        def snr_of(names: Collection[str]) -> float:
            return quick(plan.quantized(names), scored=False).mean_core_snr_db or 0.0

        yield snr_of


def _quality_gates(plan: Plan, evaluator: Evaluator, quality: Quality) -> tuple[GateResult, ...]:
    return quality_gates(evaluator.float32, quality, plan.bundle.manifest.weights)


def _require(plan: Plan, gates: Sequence[GateResult], command: str) -> None:
    """Raise CheckFailed where a gate failed; `allow_slower` ignores speed.

    `command`: the running command, for the message.
    """
    settings = plan.settings
    failed = [gate for gate in gates if gate.passed is False]
    if settings.allow_slower:
        failed = [gate for gate in failed if gate.name != "speed"]
    if not passed(failed):
        lines = failures(failed, plan.file, command)
        raise CheckFailed("; ".join((*plan.clips.warnings, *lines)))


def _fp16(plan: Plan, evaluator: Evaluator, progress: Progress) -> dict[str, Quality]:
    """The quality of the bundle's float16 file, where there is one with the same I/O signature."""
    fp16 = plan.bundle.manifest.file(plan.source.float32.role, "onnx", "fp16")
    if fp16 is None or fp16.call_inputs != plan.source.entry.call_inputs:
        return {}
    return {"fp16": evaluator(plan.bundle.file(fp16), progress=progress)}


def _speed(plan: Plan, evaluator: Evaluator, content: bytes, progress: Progress) -> Speed | None:
    if plan.settings.target != "cpu":
        return None
    progress("timing", 0, 1)
    longest = max(evaluator.clips, key=lambda clip: len(clip.noisy))
    return measure_speed(
        plan.bundle,
        plan.source.float32,
        content,
        longest.noisy,
        called=plan.source.entry,
        threads=plan.settings.threads,
    )


def _worst(plan: Plan, evaluator: Evaluator, quality: Quality, content: bytes) -> WorstClip:
    name = quality.worst.name
    recording = next(clip for clip in evaluator.clips if clip.pair.name == name)
    return WorstClip(
        name,
        recording.noisy,
        evaluator.denoise(name),
        evaluator.denoise(name, content),
        plan.bundle.manifest.sample_rate,
    )
