"""The options of `frcrn-export train`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from frcrn_export.exporters.commands.options import family_options
from frcrn_export.exporters.family import Setting
from frcrn_export.runtime.commands.console import FiniteRange

Command = TypeVar("Command", bound=Callable[..., Any])


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_POSITIVE = FiniteRange(min=0, min_open=True)


@dataclass(frozen=True)
class TrainOptions:
    """The options of `train`; None where the model or the recipe decides."""

    model: str
    speech: Path
    noise: Path
    output: Path
    checkpoint: str | None
    options: Mapping[str, Setting]
    minutes: float | None
    steps: int | None
    early_stop: int | None
    resume: bool
    force: bool
    seed: int
    learning_rate: float | None
    schedule: str
    batch: int
    seconds: float
    device: str
    amp: bool | None
    threads: int | None
    as_json: bool


def train_options(command: Command) -> Command:
    """All options except the name of the model."""
    command = family_options(command, training=True)
    for option in reversed((*_DATA, *_START, *_COURSE, *_MACHINE)):
        command = option(command)
    return command


_DATA = (
    click.option("--speech", required=True, type=_FOLDER, help="Folder of clean speech."),
    click.option("--noise", required=True, type=_FOLDER, help="Folder of noise."),
    click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Run folder: the weights, the state for --resume, the curve, TensorBoard events.",
    ),
    click.option("--batch", type=click.IntRange(min=2), default=8, show_default=True),
    click.option(
        "--seconds",
        type=FiniteRange(min=0.25, max=60),
        default=2.0,
        show_default=True,
        help="Length of an example.",
    ),
)
_START = (
    click.option(
        "-c",
        "--checkpoint",
        metavar="FILE",
        help="Fine-tune these weights, in any published form; the word default stands for the "
        "packaged or fetched ones. Without it, training starts from scratch.",
    ),
    click.option("--resume", is_flag=True, help="Go on from the state in the run folder."),
    click.option("--force", is_flag=True, help="Start anew in a folder that holds a run."),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of all that is drawn at random.",
    ),
)
_COURSE = (
    click.option("--minutes", type=_POSITIVE, help="End by the clock."),
    click.option("--steps", type=click.IntRange(min=1), help="End by the number of updates."),
    click.option(
        "--early-stop",
        type=click.IntRange(min=1),
        metavar="N",
        help="Also end after N validations without a better one.",
    ),
    click.option(
        "--learning-rate",
        type=_POSITIVE,
        help="Peak learning rate.  [default: the network's own; a tenth of it from a checkpoint]",
    ),
    click.option(
        "--schedule",
        type=click.Choice(["plateau", "cosine"]),
        default="plateau",
        show_default=True,
        help="Halve the learning rate on a plateau and let it fall at the end, or let it fall "
        "along a cosine.",
    ),
)
_MACHINE = (
    click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ..."
    ),
    click.option(
        "--amp/--no-amp", default=None, help="Compute in bfloat16; default: where there is CUDA."
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of PyTorch."),
    click.option("--json", "as_json", is_flag=True, help="The summary as JSON on standard output."),
)
