"""The output of `train`: progress and result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.exporters.training_task import SAMPLE_RATE
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    from rich.console import Console

    from frcrn_export.exporters.training.data import Recording
    from frcrn_export.exporters.training.loop import Progress, TrainingResult


def show_data(
    console: "Console", speech: "list[Recording]", noise: "list[Recording]", device: str
) -> None:
    """Show the data and the device."""
    _line(
        console,
        f"{len(speech)} speech files ({_minutes(speech)}, {_sources(speech)} speakers), "
        f"{len(noise)} noise files ({_minutes(noise)}), {device}",
    )


@contextmanager
def shown_progress(console: "Console") -> "Iterator[Callable[[Progress], None]]":
    """A progress bar over the share of the budget, and a line for each validation."""
    import rich.progress as rich

    columns = (
        rich.TextColumn("step {task.fields[step]}"),
        rich.BarColumn(),
        rich.TextColumn("{task.percentage:3.0f}%  loss {task.fields[loss]:.2f}"),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("train", total=1.0, loss=float("nan"), step=0)

        def show(progress: "Progress") -> None:
            bar.update(task, completed=progress.done, loss=progress.loss, step=progress.step)
            if progress.validation is not None:
                best = "none" if progress.best is None else f"{progress.best:+.2f}"
                _line(
                    console,
                    f"step {progress.step:6d}  {progress.seconds / 60:6.1f} min  "
                    f"loss {progress.loss:7.3f}  rate {progress.learning_rate:.1e}  "
                    f"validation {progress.validation:+.2f} dB SI-SDR  best {best}",
                )

        yield show


def show_result(console: "Console", model: str, result: "TrainingResult") -> None:
    """Show the result of a run, and the next command."""
    if result.stopped_early:
        _line(console, "Stopped early: the validation did not improve any more.")
    if result.skipped:
        _line(console, f"{result.skipped} steps were left out: their loss was not finite.")
    start = "" if result.start is None else f" (start {result.start:+.2f})"
    at = "" if result.best_step is None else f", best at step {result.best_step}"
    _line(
        console,
        f"{result.weights}: {result.parameters:,} parameters, {result.steps} steps, "
        f"{result.seconds / 60:.1f} min, {result.best:+.2f} dB SI-SDR on held-out mixtures"
        f"{start}{at}",
    )
    if result.best_step == 0:
        _line(console, "Nothing better was found: these are the weights of the checkpoint.")
    _line(
        console,
        f"Next: frcrn-export onnx --model {model} --checkpoint {quoted(result.weights)}",
    )


def show_interrupted(console: "Console", run_dir: Path, step: int) -> None:
    """Show how to resume a run that was interrupted and saved."""
    _line(console, f"{run_dir} is saved at step {step}: go on with the same command and --resume")


def show_curve(console: "Console", run_dir: Path) -> None:
    """Write the picture of the curve, if matplotlib is installed."""
    from frcrn_export.exporters.training.outputs import plot_curve
    from frcrn_export.runtime.errors import UserError

    try:
        plot_curve(run_dir, run_dir / "curve.png")
    except UserError as error:
        _line(console, f"No {run_dir / 'curve.png'}: {error}")


def _line(console: "Console", text: str) -> None:
    """Print text literally: users copy commands from it, and [plot] is not markup."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _sources(recordings: "list[Recording]") -> int:
    return len({recording.source for recording in recordings})


def _minutes(recordings: "list[Recording]") -> str:
    return f"{sum(map(len, recordings)) / SAMPLE_RATE / 60:.1f} min"
