from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from frcrn_export.exporters.families.wave_unet.network import (
    WaveUNet,
    WaveUNetConfig,
)
from frcrn_export.exporters.families.wave_unet.training import WaveUNetTask
from frcrn_export.exporters.training.data import MixRecipe, Recording
from frcrn_export.exporters.training.loop import Progress, train
from frcrn_export.exporters.training.outputs import read_curve
from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.exporters.training.run import MAX_SKIPPED, TrainingRun
from frcrn_export.runtime.errors import CheckpointError, UserError
from tests.exporters.families.wave_unet.test_network import config_from

Recordings = list[Recording]

TASK = WaveUNetTask(
    WaveUNetConfig(channels=(8, 12), strides=(4, 4), kernel_size=9, context_blocks=1, residual=True)
)
TINY = Recipe(
    mix=MixRecipe(seconds=0.25, snr_db=(0.0, 0.0)),
    steps=6,
    minutes=None,
    batch=2,
    warmup_steps=2,
    patience=0,
    validate_every=2,
    validation_examples=8,
)


WEIGHTS = "wave-unet-16k.safetensors"


class Cut(Exception):
    """Stands for a run that is killed."""


def weights(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("amp", [False, True])
def test_resume_continues_exactly(
    tmp_path: Path, voices: Recordings, noises: Recordings, amp: bool
) -> None:
    recipe = replace(TINY, schedule="cosine" if amp else "plateau", early_stop=9)
    whole: list[Progress] = []
    train(TASK, recipe, voices, noises, tmp_path / "whole", amp=amp, on_progress=whole.append)

    def cut_at_5(progress: Progress) -> None:
        if progress.step == 5:  # one step after the last saved state
            raise Cut

    cut = tmp_path / "cut"
    with pytest.raises(Cut):
        train(TASK, recipe, voices, noises, cut, amp=amp, on_progress=cut_at_5)
    rest: list[Progress] = []
    train(TASK, recipe, voices, noises, cut, resume=True, amp=amp, on_progress=rest.append)

    assert [progress.step for progress in whole] == [1, 2, 3, 4, 5, 6]
    assert [progress.step for progress in rest] == [5, 6]
    for one, other in zip(whole[4:], rest, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    states = [torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "cut")]
    for part in ("network", "average"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name
    assert states[0]["optimiser"]["param_groups"] == states[1]["optimiser"]["param_groups"]
    for part in ("plateau", "step", "best", "since_best", "skipped"):
        assert states[0][part] == states[1][part], part
    curves = [read_curve(tmp_path / run) for run in ("whole", "cut")]
    assert [point.step for point in curves[0]] == [2, 4, 6]
    for first, second in zip(*curves, strict=True):
        assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


def test_weights_carry_their_configuration(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    result = train(TASK, TINY, voices, noises, tmp_path / "run")
    assert result.weights == tmp_path / "run" / "wave-unet-16k.safetensors"
    assert result.steps == 6
    with safe_open(result.weights, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["level"] == "peak"
    assert metadata["model"] == "wave-unet-16k"
    state = weights(result.weights)
    assert config_from(state, metadata) == TASK.config
    WaveUNet(TASK.config).load_state_dict(state)
    assert {path.suffix for path in (tmp_path / "run").iterdir()} >= {".pt", ".safetensors"}
    assert not list((tmp_path / "run").glob("*.part"))


def test_loss_falls_on_one_tiny_task(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    history: list[Progress] = []
    recipe = replace(TINY, steps=60, learning_rate=5e-3, batch=4, validate_every=20, ema_decay=0.9)
    result = train(TASK, recipe, voices[:2], noises[:2], tmp_path, on_progress=history.append)
    losses = [progress.loss for progress in history]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 2.0
    assert result.best > 0.0  # dB better than the noisy input, on held-out files
    validations = [p.validation for p in history if p.validation is not None]
    assert result.best == max(validations)


def test_learning_rate_warms_up_and_cools_down(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    history: list[Progress] = []
    recipe = replace(TINY, steps=10, cooldown=0.5, final_rate=0.1, patience=100)
    train(TASK, recipe, voices, noises, tmp_path, on_progress=history.append)
    rates = [progress.learning_rate for progress in history]
    assert rates[0] == pytest.approx(0.5 * recipe.learning_rate)
    assert rates[1:6] == pytest.approx([recipe.learning_rate] * 5)
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert rates[-1] < 0.3 * recipe.learning_rate


def test_plateau_halves_the_rate(
    tmp_path: Path, voices: Recordings, noises: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingRun, "_improvement_db", lambda run, noisy, clean: 1.0)
    train(TASK, TINY, voices, noises, tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["optimiser"]["param_groups"][0]["lr"] == TINY.learning_rate / 4


def test_the_clock_ends_a_run(tmp_path: Path, voices: Recordings, noises: Recordings) -> None:
    result = train(TASK, replace(TINY, steps=None, minutes=0.01), voices, noises, tmp_path)
    assert result.steps > 0
    assert result.seconds >= 0.6


def test_runs_that_cannot_start(tmp_path: Path, voices: Recordings, noises: Recordings) -> None:
    with pytest.raises(UserError, match="--steps or --minutes"):
        train(TASK, replace(TINY, steps=None), voices, noises, tmp_path)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(TASK, TINY, voices, noises, tmp_path, resume=True)
    train(TASK, replace(TINY, steps=2), voices, noises, tmp_path)
    with pytest.raises(UserError, match="trained already"):
        train(TASK, replace(TINY, steps=2), voices, noises, tmp_path, resume=True)
    other = WaveUNetTask(WaveUNetConfig(channels=(4, 4), strides=(4, 4)))
    with pytest.raises(CheckpointError, match="another network"):
        train(other, TINY, voices, noises, tmp_path, resume=True)
    (tmp_path / "last.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="cannot read"):
        train(TASK, TINY, voices, noises, tmp_path, resume=True)


def test_curve_has_the_mean_loss_of_each_stretch(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    history: list[Progress] = []
    train(TASK, replace(TINY, steps=5), voices, noises, tmp_path, on_progress=history.append)
    losses = [progress.loss for progress in history]
    points = read_curve(tmp_path)
    assert [point.step for point in points] == [2, 4, 5]
    assert [point.loss for point in points] == pytest.approx(
        [np.mean(losses[:2]), np.mean(losses[2:4]), losses[4]]
    )
    assert [point.validation for point in points] == [history[i].validation for i in (1, 3, 4)]
    assert points[-1].learning_rate == history[-1].learning_rate
    train(TASK, replace(TINY, steps=2), voices, noises, tmp_path)  # anew, not resumed
    assert [point.step for point in read_curve(tmp_path)] == [2]


def test_early_stop_counts_validations_over_resumes(
    tmp_path: Path, voices: Recordings, noises: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    improvements = iter([1.0, 0.5, 2.0, 1.0, 1.5, 0.0, 0.0])
    monkeypatch.setattr(TrainingRun, "_improvement_db", lambda run, *pair: next(improvements))
    recipe = replace(TINY, steps=100, early_stop=2)
    result = train(TASK, recipe, voices, noises, tmp_path)
    assert (result.steps, result.best, result.stopped_early) == (10, 2.0, True)
    with pytest.raises(UserError, match="has stopped early, 2 validations after .*--early-stop"):
        train(TASK, recipe, voices, noises, tmp_path, resume=True)
    result = train(TASK, replace(recipe, early_stop=4), voices, noises, tmp_path, resume=True)
    assert (result.steps, result.best) == (14, 2.0)


def test_cosine_does_not_halve_on_a_plateau(
    tmp_path: Path, voices: Recordings, noises: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingRun, "_improvement_db", lambda run, *pair: 1.0)
    history: list[Progress] = []
    recipe = replace(TINY, schedule="cosine", final_rate=0.1)
    train(TASK, recipe, voices, noises, tmp_path, on_progress=history.append)
    # Half a cosine at 0/6, 1/6, ... of the run, with a warm-up of two steps.
    factors = [0.5, 0.939711, 0.775, 0.55, 0.325, 0.160289]
    rates = [progress.learning_rate / recipe.learning_rate for progress in history]
    assert rates == pytest.approx(factors, rel=1e-4)


def test_a_lower_learning_rate_can_be_resumed_with(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    flat = replace(TINY, steps=4, cooldown=1e-6, warmup_steps=1, patience=100)
    train(TASK, replace(flat, steps=2), voices, noises, tmp_path)
    history: list[Progress] = []
    lower = replace(flat, learning_rate=TINY.learning_rate / 4)
    train(TASK, lower, voices, noises, tmp_path, resume=True, on_progress=history.append)
    assert history[0].learning_rate == pytest.approx(TINY.learning_rate / 4)


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    run = TrainingRun(TASK, TINY, "cpu", amp=False)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    noisy = torch.full((2, 1, 4000), float("nan"))
    loss, _ = run.train_step(noisy, torch.zeros(2, 1, 4000))
    assert np.isnan(loss)
    assert (run.step, run.skipped, run.skipped_in_a_row) == (1, 1, 1)
    for name, value in run.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    run.train_step(torch.rand(2, 1, 4000), torch.rand(2, 1, 4000))
    assert (run.step, run.skipped, run.skipped_in_a_row) == (2, 1, 0)


def test_losses_that_stay_not_finite_end_the_run(
    tmp_path: Path, voices: Recordings, noises: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_loss = WaveUNetTask.loss
    bad = {3, 5}

    def loss(task: WaveUNetTask, *given: Any) -> torch.Tensor:
        calls.append(None)
        return true_loss(task, *given) * (float("inf") if len(calls) in bad else 1.0)

    monkeypatch.setattr(WaveUNetTask, "loss", loss)
    calls: list[None] = []
    result = train(TASK, TINY, voices, noises, tmp_path)
    assert (result.steps, result.skipped) == (6, 2)
    assert all(point.loss is not None for point in read_curve(tmp_path))

    calls.clear()
    bad = set(range(5, 100))
    history: list[Progress] = []
    with pytest.raises(
        UserError, match=r"10 times in a row, up to step 14: .*--resume.*--learning-rate 4"
    ):
        train(TASK, replace(TINY, steps=99), voices, noises, tmp_path, on_progress=history.append)
    assert len(history) == 4 + MAX_SKIPPED - 1
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / WEIGHTS).values())
    assert read_curve(tmp_path)[-1].loss is None

    calls.clear()
    bad = set(range(1, 100))
    with pytest.raises(UserError, match="up to step 10: lower the learning rate"):
        train(TASK, replace(TINY, steps=99, validate_every=50), voices, noises, tmp_path)
