from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open

from frcrn_export.exporters.networks.wave_unet import (
    WaveUNet,
    WaveUNetConfig,
    config_from_state_dict,
)
from frcrn_export.exporters.training.data import MixRecipe
from frcrn_export.exporters.training.loop import Progress, train
from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.exporters.training.wave_unet_task import WaveUNetTask
from frcrn_export.runtime.errors import CheckpointError, UserError

Clips = list[npt.NDArray[np.float32]]

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


class Cut(Exception):
    """Stands for a run that is killed."""


def weights(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_resume_continues_exactly(tmp_path: Path, speech: Clips, noise: Clips) -> None:
    whole: list[Progress] = []
    train(TASK, TINY, speech, noise, tmp_path / "whole", on_progress=whole.append)

    def cut_at_5(progress: Progress) -> None:
        if progress.step == 5:  # one step after the last saved state
            raise Cut

    with pytest.raises(Cut):
        train(TASK, TINY, speech, noise, tmp_path / "cut", on_progress=cut_at_5)
    rest: list[Progress] = []
    train(TASK, TINY, speech, noise, tmp_path / "cut", resume=True, on_progress=rest.append)

    assert [progress.step for progress in whole] == [1, 2, 3, 4, 5, 6]
    assert [progress.step for progress in rest] == [5, 6]
    for one, other in zip(whole[4:], rest, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    states = [torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "cut")]
    for part in ("network", "average"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name
    assert states[0]["optimiser"]["param_groups"] == states[1]["optimiser"]["param_groups"]
    assert states[0]["plateau"] == states[1]["plateau"]


def test_weights_carry_their_configuration(tmp_path: Path, speech: Clips, noise: Clips) -> None:
    result = train(TASK, TINY, speech, noise, tmp_path / "run")
    assert result.weights == tmp_path / "run" / "wave-unet-16k.safetensors"
    assert result.steps == 6
    with safe_open(result.weights, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["level"] == "peak"
    assert metadata["model"] == "wave-unet-16k"
    state = weights(result.weights)
    assert config_from_state_dict(state, metadata) == TASK.config
    WaveUNet(TASK.config).load_state_dict(state)
    assert {path.suffix for path in (tmp_path / "run").iterdir()} >= {".pt", ".safetensors"}
    assert not list((tmp_path / "run").glob("*.part"))


def test_loss_falls_on_one_tiny_task(tmp_path: Path, speech: Clips, noise: Clips) -> None:
    history: list[Progress] = []
    recipe = replace(TINY, steps=60, learning_rate=5e-3, batch=4, validate_every=20, ema_decay=0.9)
    result = train(TASK, recipe, speech[:2], noise[:2], tmp_path, on_progress=history.append)
    losses = [progress.loss for progress in history]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 2.0
    assert result.best > 0.0  # dB better than the noisy input, on held-out files
    validations = [p.validation for p in history if p.validation is not None]
    assert result.best == max(validations)


def test_learning_rate_warms_up_and_cools_down(tmp_path: Path, speech: Clips, noise: Clips) -> None:
    history: list[Progress] = []
    recipe = replace(TINY, steps=10, cooldown=0.5, final_rate=0.1, patience=100)
    train(TASK, recipe, speech, noise, tmp_path, on_progress=history.append)
    rates = [progress.learning_rate for progress in history]
    assert rates[0] == pytest.approx(0.5 * recipe.learning_rate)
    assert rates[1:6] == pytest.approx([recipe.learning_rate] * 5)
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert rates[-1] < 0.3 * recipe.learning_rate


def test_plateau_halves_the_rate(
    tmp_path: Path, speech: Clips, noise: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingRun, "_improvement_db", lambda run, noisy, clean: 1.0)
    train(TASK, TINY, speech, noise, tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["optimiser"]["param_groups"][0]["lr"] == TINY.learning_rate / 4


def test_the_clock_ends_a_run(tmp_path: Path, speech: Clips, noise: Clips) -> None:
    result = train(TASK, replace(TINY, steps=None, minutes=0.01), speech, noise, tmp_path)
    assert result.steps > 0
    assert result.seconds >= 0.6


def test_runs_that_cannot_start(tmp_path: Path, speech: Clips, noise: Clips) -> None:
    with pytest.raises(UserError, match="--steps or --minutes"):
        train(TASK, replace(TINY, steps=None), speech, noise, tmp_path)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(TASK, TINY, speech, noise, tmp_path, resume=True)
    train(TASK, replace(TINY, steps=2), speech, noise, tmp_path)
    with pytest.raises(UserError, match="trained already"):
        train(TASK, replace(TINY, steps=2), speech, noise, tmp_path, resume=True)
    other = WaveUNetTask(WaveUNetConfig(channels=(4, 4), strides=(4, 4)))
    with pytest.raises(CheckpointError, match="another network"):
        train(other, TINY, speech, noise, tmp_path, resume=True)
    (tmp_path / "last.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="cannot read"):
        train(TASK, TINY, speech, noise, tmp_path, resume=True)
