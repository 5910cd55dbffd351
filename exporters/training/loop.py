"""The training loop."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from frcrn_export.exporters.training.augment import FloatArray
from frcrn_export.exporters.training.curve import CurvePoint, append_point, cut_curve
from frcrn_export.exporters.training.mixing import draw_batch
from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.exporters.training.recordings import Recording, split
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.exporters.training.task import Task
from frcrn_export.runtime.errors import UserError

STATE_NAME = "last.pt"
VALIDATION_STREAM = 1  # seeds are (seed, stream, step): training draws from stream 0


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step. `validation` is there when the step ended in one."""

    step: int
    seconds: float
    done: float  # share of the budget, 0 to 1
    loss: float
    learning_rate: float
    validation: float | None  # mean SI-SNR improvement in dB of the averaged weights
    best: float | None


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run made."""

    weights: Path
    steps: int
    seconds: float
    best: float  # mean SI-SNR improvement in dB over the held-out mixtures
    parameters: int
    skipped: int  # steps whose loss was not finite
    stopped_early: bool


def train(
    task: Task,
    recipe: Recipe,
    speech: Sequence[Recording],
    noise: Sequence[Recording],
    run_dir: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    amp: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> TrainingResult:
    """Trains on recordings and keeps the best averaged weights in `run_dir`.

    `run_dir` gets `last.pt` (everything a resume needs; continuing from it is exact),
    `MODEL.safetensors` (the best weights with their configuration), `curve.jsonl` (a line each
    validation), and TensorBoard events where tensorboard is installed. `amp` computes the network
    in bfloat16, which needs no scaling of the loss.
    Raises UserError for a budget that is missing or used up and for a loss that stays not finite,
    CheckpointError for a state that is missing, unreadable or of another network.
    """
    if recipe.steps is None and recipe.minutes is None:
        raise UserError("a run needs an end: give --steps or --minutes")
    run = TrainingRun(task, recipe, device, amp)
    if resume:
        run.load(run_dir / STATE_NAME)
        _require_more_to_do(run, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    cut_curve(run_dir, run.step if resume else -1)
    weights = run_dir / f"{task.model}.safetensors"
    train_speech, held_speech = split(speech, recipe.validation_share, recipe.seed)
    train_noise, held_noise = split(noise, recipe.validation_share, recipe.seed)
    held_noisy, held_clean = (
        torch.from_numpy(x)
        for x in draw_batch(
            (recipe.seed, VALIDATION_STREAM),
            held_speech,
            held_noise,
            recipe.mix.without_silence(),
            recipe.validation_examples,
        )
    )
    log = _tensorboard(run_dir, run.step)
    started = time.monotonic() - run.seconds
    losses: list[float] = []  # since the last validation

    def batch_of(step: int) -> tuple[FloatArray, FloatArray]:
        seed = (recipe.seed, 0, step)
        return draw_batch(seed, train_speech, train_noise, recipe.mix, recipe.batch)

    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(batch_of, run.step)
        while run.done() < 1.0 and not run.stopped_early():
            noisy, clean = (torch.from_numpy(x).to(device) for x in pending.result())
            pending = ahead.submit(batch_of, run.step + 1)
            loss, rate = run.train_step(noisy, clean)
            if math.isfinite(loss):
                losses.append(loss)
            run.seconds = time.monotonic() - started
            improvement = None
            on_schedule = run.step % recipe.validate_every == 0
            if on_schedule or run.done() >= 1.0:
                improvement, better = run.validate(held_noisy, held_clean, on_schedule)
                if better:
                    run.save_weights(weights)
                run.seconds = time.monotonic() - started
                mean = sum(losses) / len(losses) if losses else None
                finite = improvement if math.isfinite(improvement) else None
                append_point(
                    run_dir, CurvePoint(run.step, run.seconds, mean, rate, finite, run.best)
                )
                losses.clear()
                run.save(run_dir / STATE_NAME)
            if log is not None:
                log.add_scalar("loss", loss, run.step)
                log.add_scalar("learning_rate", rate, run.step)
                if improvement is not None:
                    log.add_scalar("validation/si_snr_improvement_db", improvement, run.step)
            on_progress(
                Progress(run.step, run.seconds, run.done(), loss, rate, improvement, run.best)
            )
    if log is not None:
        log.close()
    if run.best is None:
        raise UserError(
            "no validation gave a finite number: start anew with --force, "
            f"and lower the learning rate, as in --learning-rate {recipe.learning_rate / 3:.1e}"
        )
    parameters = sum(p.numel() for p in run.network.parameters())
    return TrainingResult(
        weights, run.step, run.seconds, run.best, parameters, run.skipped, run.stopped_early()
    )


def _require_more_to_do(run: TrainingRun, run_dir: Path) -> None:
    """Raises UserError where a run that is to be resumed has ended."""
    if run.done() >= 1.0:
        raise UserError(
            f"{run_dir} is trained already ({run.step} steps): "
            "ask for more to go on, with --steps or --minutes"
        )
    if run.stopped_early():
        raise UserError(
            f"{run_dir} has stopped early, {run.since_best} validations after the best one: "
            "go on with a larger --early-stop, or without it"
        )


def _tensorboard(run_dir: Path, step: int) -> Any:
    """A writer of TensorBoard events, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run_dir), purge_step=step or None)
