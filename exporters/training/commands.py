"""`frcrn-export train`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from frcrn_export.exporters.training.data import FloatArray

TRAINABLE = ("wave-unet-16k",)


class Integers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A comma-separated list of whole numbers."""

    name = "N,N,..."

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 4,4,4,2", param, ctx)


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("model")
@click.option("--speech", required=True, type=FOLDER, help="Folder of clean speech.")
@click.option("--noise", required=True, type=FOLDER, help="Folder of noise.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder: the weights, the state for --resume, TensorBoard events.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="End by the clock.")
@click.option("--steps", type=click.IntRange(min=1), help="End by the number of updates.")
@click.option("--resume", is_flag=True, help="Go on from the state in the run folder.")
@click.option("--force", is_flag=True, help="Start anew in a run folder that has a state.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--channels", type=Integers(), help="Of each encoder.")
@click.option("--strides", type=Integers(), help="Of each encoder.")
@click.option("--context", type=click.IntRange(min=0), help="Dilated blocks at the lowest rate.")
@click.option("--causal/--non-causal", default=True, show_default=True)
@click.option("--batch", type=click.IntRange(min=2), default=8, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.25),
    default=2.0,
    show_default=True,
    help="Of audio in an example.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--amp/--no-amp", default=None, help="bfloat16 networks; on where there is CUDA.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of PyTorch.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on standard output.")
def train(
    model: str,
    speech: Path,
    noise: Path,
    output: Path,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    force: bool,
    seed: int,
    channels: tuple[int, ...] | None,
    strides: tuple[int, ...] | None,
    context: int | None,
    causal: bool,
    batch: int,
    seconds: float,
    device: str,
    amp: bool | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train MODEL on random mixtures of the files of two folders.

    Files of any rate are taken, some of each folder are held out for validation. The run folder
    gets MODEL.safetensors (the best weights so far), which every --checkpoint option reads. Without
    --minutes or --steps a run takes 40 minutes.
    """
    if model not in TRAINABLE:
        near = get_close_matches(model, TRAINABLE, n=1, cutoff=0.0)[0]
        raise UserError(f"{model!r} cannot be trained here; did you mean {near}?")

    import torch
    from rich.console import Console

    from frcrn_export.exporters.training import loop
    from frcrn_export.exporters.training.data import MixRecipe, load_folder
    from frcrn_export.exporters.training.recipe import DEFAULT_NETWORK, Recipe

    if (output / loop.STATE_NAME).exists() and not (resume or force):
        raise UserError(f"{output} holds a run; go on with --resume or start anew with --force")
    if resume and not (output / loop.STATE_NAME).exists():
        raise UserError(f"nothing to resume: {output} holds no {loop.STATE_NAME}; omit --resume")
    try:
        network = replace(
            DEFAULT_NETWORK,
            channels=channels or DEFAULT_NETWORK.channels,
            strides=strides or DEFAULT_NETWORK.strides,
            causal=causal,
            context_blocks=DEFAULT_NETWORK.context_blocks if context is None else context,
        )
    except ValueError as error:
        raise UserError(f"no such network: {error}; change --channels and --strides") from error
    device = _device(device)
    recipe = Recipe(network=network, mix=MixRecipe(seconds=seconds), seed=seed, batch=batch)
    if minutes is not None or steps is not None:
        recipe = replace(recipe, minutes=minutes, steps=steps)
    if threads is not None:
        torch.set_num_threads(threads)

    console = Console(stderr=True)
    speech_clips, noise_clips = load_folder(speech), load_folder(noise)
    console.print(
        f"{len(speech_clips)} speech files ({_minutes(speech_clips)}), "
        f"{len(noise_clips)} noise files ({_minutes(noise_clips)}), {device}"
    )
    with _bar(console) as (bar, task):

        def show(progress: loop.Progress) -> None:
            bar.update(task, completed=progress.done, loss=progress.loss, step=progress.step)
            if progress.validation is not None:
                console.print(
                    f"step {progress.step:6d}  {progress.seconds / 60:6.1f} min  "
                    f"loss {progress.loss:7.3f}  rate {progress.learning_rate:.1e}  "
                    f"validation {progress.validation:+.2f} dB SI-SDR  best {progress.best:+.2f}"
                )

        result = loop.train(
            recipe,
            speech_clips,
            noise_clips,
            output,
            resume=resume,
            device=device,
            amp=device.startswith("cuda") if amp is None else amp,
            on_progress=show,
        )
    if as_json:
        summary = {**asdict(result), "weights": str(result.weights), "model": model}
        click.echo(json.dumps(summary))
    else:
        console.print(
            f"{result.weights}: {result.parameters:,} parameters, {result.steps} steps, "
            f"{result.seconds / 60:.1f} min, {result.best:+.2f} dB SI-SDR on held-out mixtures"
        )


def _device(name: str) -> str:
    """The device to train on. Raises UserError for one that PyTorch does not have here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"PyTorch has no device {name!r} here; use --device cpu") from error
    return name


def _minutes(clips: "list[FloatArray]") -> str:
    from frcrn_export.exporters.training.data import SAMPLE_RATE

    return f"{sum(map(len, clips)) / SAMPLE_RATE / 60:.1f} min"


@contextmanager
def _bar(console: "Console") -> "Iterator[tuple[Progress, TaskID]]":
    """A progress bar over the share of the budget, with the loss and the step."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("step {task.fields[step]}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%  loss {task.fields[loss]:.2f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield bar, bar.add_task("train", total=1.0, loss=float("nan"), step=0)
