"""The saved state of a run, and checks of whether a run may resume from it."""

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.errors import CheckpointError, UserError

_COUNTERS = (
    "step",
    "seconds",
    "start",
    "best",
    "best_step",
    "since_best",
    "skipped",
    "skipped_in_a_row",
    "losses",
    "held_out",
)


def save_state(run: TrainingRun, path: Path) -> None:
    """Write everything that `load_state` needs to resume exactly."""
    state = {
        "metadata": run.metadata(),
        "examples": _examples(run.recipe),
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "plateau": run.plateau.state_dict(),
        "learning_rate": run.recipe.learning_rate,
        **{name: getattr(run, name) for name in _COUNTERS},
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())
    run.saved = True


def load_state(run: TrainingRun, path: Path) -> None:
    """Restore a saved run into a fresh one.

    Raises CheckpointError for a state that is missing, unreadable or of another network, UserError
    for one with other examples.
    """
    if not path.is_file():
        raise CheckpointError(f"nothing to resume: {path} is missing; leave --resume out")
    try:
        state: Mapping[str, Any] = torch.load(path, map_location=run.device, weights_only=True)
    except Exception as error:
        raise CheckpointError(f"cannot read {path}; start anew with --force") from error
    _require_same_network(state.get("metadata", {}), run.metadata(), path)
    if "examples" in state:  # missing in the first version
        _require_same_examples(state["examples"], _examples(run.recipe), path)
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.plateau.load_state_dict(state["plateau"])
    for name in _COUNTERS:
        setattr(run, name, state.get(name, getattr(run, name)))
    # The state has its own rate, lowered by plateaus; the recipe may have another.
    ratio = run.recipe.learning_rate / state.get("learning_rate", run.recipe.learning_rate)
    run.optimiser.param_groups[0]["lr"] *= ratio
    run.saved = True


def require_more_to_do(run: TrainingRun, run_dir: Path) -> None:
    """Raise UserError where the run to resume has ended."""
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


def _examples(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide the examples, by option name."""
    return {"seed": recipe.seed, "batch": recipe.batch, **asdict(recipe.mix)}


def _require_same_network(had: Mapping[str, str], given: Mapping[str, str], path: Path) -> None:
    differing = [
        f"{_words(name)} {had.get(name, 'none')[:16]}, not {given.get(name, 'none')[:16]}"
        for name in {**had, **given}
        if had.get(name) != given.get(name)
    ]
    if differing:
        raise CheckpointError(
            f"{path} holds another network: {'; '.join(differing)}. Resume with the options it was "
            "started with, or start anew with --force"
        )


def _words(name: str) -> str:
    return "fine-tuned from" if name == "fine_tuned_from" else name.replace("_", " ")


def _require_same_examples(had: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    for name in ("seed", "batch", "seconds"):
        if had[name] != given[name]:
            raise UserError(
                f"{path.parent} was started with --{name} {had[name]}, not {given[name]}: "
                f"go on with --resume --{name} {had[name]}, or start anew with --force"
            )
    for name in {**had, **given}:
        if had.get(name) != given.get(name):
            raise UserError(
                f"{path.parent} was started with {_words(name)} {had.get(name)} in its examples, "
                f"not {given.get(name)}: start anew with --force"
            )
