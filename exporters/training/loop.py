"""The training loop."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import torch

from frcrn_export.exporters.training.data import Recording, choose_held_out, draw_batch, split
from frcrn_export.exporters.training.outputs import (
    STATE_NAME,
    CurvePoint,
    append_point,
    clear,
    cut_curve,
    save_weights,
    tensorboard,
    weights_path,
)
from frcrn_export.exporters.training.recipe import Recipe, rate_factor
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.exporters.training.state import load_state, require_more_to_do, save_state
from frcrn_export.exporters.training_task import Task
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import UserError


class Interrupted(KeyboardInterrupt):
    """A run was interrupted after `step` and saved."""

    def __init__(self, step: int) -> None:
        super().__init__(f"saved at step {step}")
        self.step = step


@contextmanager
def deferred_interrupts() -> Iterator[Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one acts as usual.

    Ignored signals stay ignored. Outside the main thread the event is never set.
    """
    asked = Event()
    before: dict[signal.Signals, Any] = {}
    if current_thread() is main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                before[number] = signal.getsignal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()


VALIDATION_STREAM = 1  # seeds are (seed, stream, step): training draws from stream 0


@dataclass(frozen=True)
class Progress:
    """The progress of a run after a step, with its `validation` if there was one."""

    step: int
    seconds: float
    done: float  # share of the budget, 0 to 1
    loss: float
    learning_rate: float
    validation: float | None  # mean SI-SNR improvement in dB of the averaged weights
    best: float | None


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run. Values in dB are mean SI-SNR improvements of held-out mixtures."""

    weights: Path
    steps: int
    seconds: float
    start: float | None  # dB, of the initial checkpoint of a fine-tuning
    best: float  # dB
    best_step: int | None  # 0 is the checkpoint; None in runs of the first version
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
    """Train on recordings, and keep the best averaged weights in `run_dir`.

    `run_dir` gets `last.pt` (everything a resume needs; continuing from it is exact),
    `MODEL.safetensors` (the best weights with their configuration), `curve.jsonl` (a line each
    validation), and TensorBoard events where tensorboard is installed. Files of an earlier run are
    removed once this one can begin. A fine-tuning is also validated before the first step. `amp`
    computes the network in bfloat16, which needs no loss scaling. Raises UserError for a budget
    that is missing or used up, a loss that is not finite for long, and a resume with other
    examples; CheckpointError for a state that is missing, unreadable or of another network;
    Interrupted, with the state saved, after Ctrl-C and SIGTERM.
    """
    if recipe.steps is None and recipe.minutes is None:
        raise UserError("a run needs an end: give --steps or --minutes")
    run = TrainingRun(task, recipe, device, amp)
    state, weights = run_dir / STATE_NAME, weights_path(run_dir, task.model)
    if resume:
        load_state(run, state)
        require_more_to_do(run, run_dir)
    train_speech, held_speech = _split(run, "speech", speech)
    train_noise, held_noise = _split(run, "noise", noise)
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
    if not resume:
        clear(run_dir, task.model)
    run_dir.mkdir(parents=True, exist_ok=True)
    cut_curve(run_dir, run.step)
    started = time.monotonic() - run.seconds

    def batch_of(step: int) -> tuple[Float32Array, Float32Array]:
        seed = (recipe.seed, 0, step)
        return draw_batch(seed, train_speech, train_noise, recipe.mix, recipe.batch)

    def validate(rate: float, on_schedule: bool) -> float:
        improvement, better = run.validate(held_noisy, held_clean, on_schedule)
        if better:
            save_weights(run, weights)
        run.seconds = time.monotonic() - started
        mean = sum(run.losses) / len(run.losses) if run.losses else None
        finite = improvement if math.isfinite(improvement) else None
        append_point(run_dir, CurvePoint(run.step, run.seconds, mean, rate, finite, run.best))
        run.losses.clear()
        save_state(run, state)
        if log is not None:
            log.add_scalar("validation/si_snr_improvement_db", improvement, run.step)
        return improvement

    with (
        tensorboard(run_dir, run.step) as log,
        deferred_interrupts() as interrupted,
        ThreadPoolExecutor(1) as ahead,
    ):
        pending = ahead.submit(batch_of, run.step)
        if task.checkpoint and not resume:
            validate(recipe.learning_rate * rate_factor(recipe, 0, 0.0), on_schedule=False)
        while run.done() < 1.0 and not run.stopped_early():
            if interrupted.is_set():
                save_state(run, state)
                raise Interrupted(run.step)
            noisy, clean = (torch.from_numpy(x).to(device) for x in pending.result())
            pending = ahead.submit(batch_of, run.step + 1)
            loss, rate = run.train_step(noisy, clean)
            if math.isfinite(loss):
                run.losses.append(loss)
            run.seconds = time.monotonic() - started
            on_schedule = run.step % recipe.validate_every == 0
            improvement = None
            if on_schedule or run.done() >= 1.0:
                improvement = validate(rate, on_schedule)
            if log is not None:
                log.add_scalar("loss", loss, run.step)
                log.add_scalar("learning_rate", rate, run.step)
            on_progress(
                Progress(run.step, run.seconds, run.done(), loss, rate, improvement, run.best)
            )
    if run.best is None:
        raise UserError(
            "no validation gave a finite number: start anew with --force, "
            f"and lower the learning rate, as in --learning-rate {recipe.learning_rate / 3:.1e}"
        )
    return TrainingResult(
        weights=weights,
        steps=run.step,
        seconds=run.seconds,
        start=run.start,
        best=run.best,
        best_step=run.best_step,
        parameters=sum(p.numel() for p in run.network.parameters()),
        skipped=run.skipped,
        stopped_early=run.stopped_early(),
    )


def _split(
    run: TrainingRun, kind: str, recordings: Sequence[Recording]
) -> tuple[list[Float32Array], list[Float32Array]]:
    """Audio for training and for validation; a resumed run keeps its split.

    Raises UserError where its held-out sources are missing.
    """
    if kind not in run.held_out:
        share, seed = run.recipe.validation_share, run.recipe.seed
        run.held_out[kind] = choose_held_out(recordings, share, seed)
    held_out = run.held_out[kind]
    missing = set(held_out) - {recording.source for recording in recordings}
    if missing:
        raise UserError(
            f"--{kind} lacks {len(missing)} of the {len(held_out)} sources that the run validates "
            f"on ({min(missing)!r}): go on with --resume and the folder that it was started with, "
            "or start anew with --force"
        )
    return split(recordings, held_out)
