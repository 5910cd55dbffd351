"""`frcrn-export train`."""

import json
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from frcrn_export.exporters.training.commands.options import TrainOptions, train_options
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from frcrn_export.exporters.training.recipe import Recipe, Schedule
    from frcrn_export.exporters.training_task import Task


@click.command()
@click.argument("model")
@train_options
def train(**given: Any) -> None:
    """Train MODEL on random mixtures of the files of two folders.

    MODEL is one that can be trained (see: frcrn-export models), from scratch or from a checkpoint.
    Takes files of any rate, and holds out some of each folder for validation. The run folder gets
    MODEL.safetensors (the best weights so far), which every --checkpoint option reads. Without
    --minutes or --steps a run takes 40 minutes.
    """
    options = TrainOptions(**given)
    _check_model(options.model)
    _check_output(options)

    from frcrn_export.exporters.training.tasks import make_task

    task = make_task(options.model, options.checkpoint, options.options)

    import torch
    from rich.console import Console

    from frcrn_export.exporters.training import loop
    from frcrn_export.exporters.training.commands import show
    from frcrn_export.exporters.training.data import load_folder
    from frcrn_export.exporters.training.loop import Interrupted

    device = _device(options.device)
    recipe = _recipe(options, task)
    if options.threads is not None:
        torch.set_num_threads(options.threads)

    console = Console(stderr=True)
    speech, noise = load_folder(options.speech), load_folder(options.noise)
    show.show_data(console, speech, noise, device)
    try:
        with show.shown_progress(console) as on_progress:
            result = loop.train(
                task,
                recipe,
                speech,
                noise,
                options.output,
                resume=options.resume,
                device=device,
                amp=device.startswith("cuda") if options.amp is None else options.amp,
                on_progress=on_progress,
            )
    except Interrupted as interrupted:
        show.show_interrupted(console, options.output, interrupted.step)
        raise
    show.show_curve(console, options.output)
    if options.as_json:
        summary = {**asdict(result), "weights": str(result.weights), "model": task.model}
        click.echo(json.dumps(summary))
    else:
        show.show_result(console, task.model, result)


def _check_model(model: str) -> None:
    """Raise UserError for a model that cannot be trained."""
    from frcrn_export.exporters.registry import registry

    families = registry().families.values()
    names = [spec.name for family in families if family.trainable for spec in family.models]
    if model not in names:
        near = get_close_matches(model, names, n=1, cutoff=0.0)[0]
        raise UserError(f"{model!r} cannot be trained here; did you mean {near}?")


def _check_output(options: TrainOptions) -> None:
    """Raise UserError where the run folder is not writable, or its content forbids the run."""
    from frcrn_export.exporters.training.outputs import (
        STATE_NAME,
        check_writable,
        weights_path,
    )

    output = options.output
    check_writable(output)
    weights = weights_path(output, options.model)
    given = Path(options.checkpoint) if options.checkpoint else None
    if given and given.exists() and weights.exists() and given.samefile(weights):
        raise UserError(f"{weights} is the --checkpoint, which a run would replace: change -o")
    if options.resume:
        if not (output / STATE_NAME).exists():
            raise UserError(f"nothing to resume: {output} holds no {STATE_NAME}; omit --resume")
    elif not options.force:
        if (output / STATE_NAME).exists():
            raise UserError(f"{output} holds a run; go on with --resume or start anew with --force")
        if weights.exists():
            raise UserError(f"{weights} exists: replace it with --force, or change -o")


def _recipe(options: TrainOptions, task: "Task") -> "Recipe":
    from frcrn_export.exporters.training.data import MixRecipe
    from frcrn_export.exporters.training.recipe import Recipe

    recipe = Recipe(
        mix=MixRecipe(seconds=options.seconds),
        seed=options.seed,
        batch=options.batch,
        learning_rate=options.learning_rate or task.learning_rate,
        schedule=cast("Schedule", options.schedule),
        early_stop=options.early_stop,
    )
    if options.minutes is not None or options.steps is not None:
        recipe = replace(recipe, minutes=options.minutes, steps=options.steps)
    return recipe


def _device(name: str) -> str:
    """The device to train on. Raises UserError where PyTorch does not have it."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"PyTorch has no device {name!r} here; use --device cpu") from error
    return name
