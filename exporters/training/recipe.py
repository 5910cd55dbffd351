"""The recipe of a training run, independent of the machine."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from frcrn_export.exporters.training.data import MixRecipe

Schedule = Literal["plateau", "cosine"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


@dataclass(frozen=True)
class Recipe:
    """A training run. It ends at the first of `steps` and `minutes` (both counted over resumes).

    The learning rate rises over `warmup_steps`. With the schedule `plateau` it halves each time the
    validation stops improving for `patience` validations, and falls to `final_rate` of that over
    the last `cooldown` of the run; with `cosine` it falls to `final_rate` along half a cosine over
    the whole run. `early_stop` also ends a run after this many validations without a better one.
    """

    mix: MixRecipe = field(default_factory=MixRecipe)
    seed: int = 0
    steps: int | None = None
    minutes: float | None = 40.0
    batch: int = 8
    learning_rate: float = 1.2e-3
    schedule: Schedule = "plateau"
    warmup_steps: int = 100
    norm_steps: int = 300  # then batch-norm statistics are frozen: see TrainingRun.train_step
    patience: int = 5
    cooldown: float = 0.4
    final_rate: float = 0.03
    early_stop: int | None = None
    gradient_norm: float = 5.0
    ema_decay: float = 0.999
    validate_every: int = 250  # steps; the state for a resume is saved as often
    validation_examples: int = 64
    validation_share: float = 0.06  # of the files of each folder


def rate_factor(recipe: Recipe, step: int, done: float) -> float:
    """The factor of the learning rate at `step`, after the share `done` of the run.

    `plateau`: 1, then a straight line over the cooldown; `cosine`: half a cosine. Both end at
    `final_rate`, and begin with the warm-up. Source of the cosine: Loshchilov and Hutter, "SGDR",
    2017, eq. 5, without restarts.
    """
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    if recipe.schedule == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    else:
        left = min(1.0, (1.0 - done) / recipe.cooldown)
    return warmup * (recipe.final_rate + (1.0 - recipe.final_rate) * left)
