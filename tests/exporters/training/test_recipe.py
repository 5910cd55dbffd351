import pytest

from frcrn_export.exporters.training.recipe import Recipe, rate_factor


def test_cosine_starts_at_one_and_ends_at_the_final_rate() -> None:
    recipe = Recipe(schedule="cosine", warmup_steps=10, final_rate=0.1)
    factors = [rate_factor(recipe, 100, done) for done in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)]
    assert factors == pytest.approx([1.0, 0.868198, 0.55, 0.231802, 0.1, 0.1])


def test_plateau_keeps_the_rate_until_the_cooldown() -> None:
    recipe = Recipe(warmup_steps=10, final_rate=0.1, cooldown=0.5)
    factors = [rate_factor(recipe, 100, done) for done in (0.0, 0.5, 0.75, 1.0)]
    assert factors == pytest.approx([1.0, 1.0, 0.55, 0.1])


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_both_warm_up(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, warmup_steps=4)  # type: ignore[arg-type]
    factors = [rate_factor(recipe, step, 0.0) for step in range(6)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
