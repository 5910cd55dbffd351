"""The learning rate over a run."""

import math

from frcrn_export.exporters.training.recipe import Recipe


def rate_factor(recipe: Recipe, step: int, done: float) -> float:
    """What the learning rate is multiplied by at `step`, the share `done` of the run being used.

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
