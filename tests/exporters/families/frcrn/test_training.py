import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from frcrn_export.exporters.families.frcrn.network import CONFIGS, FRCRN, FRCRN_16K
from frcrn_export.exporters.families.frcrn.training import FrcrnTask
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.recognition import load_checkpoint
from frcrn_export.exporters.reference import WaveformNetwork
from frcrn_export.exporters.registry import find_model
from frcrn_export.exporters.training.data import MixRecipe, Recording, draw_batch
from frcrn_export.exporters.training.loop import Progress, train
from frcrn_export.exporters.training.losses import si_snr_db
from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.runtime.errors import CheckpointError, UserError

Recordings = list[Recording]

SPEC = find_model("frcrn-16k")
NARROW = replace(FRCRN_16K, channels=4, fsmn_hidden=4, se_reduction=2)
RECIPE = Recipe(
    mix=MixRecipe(seconds=0.25, snr_db=(0.0, 0.0)),
    steps=4,
    minutes=None,
    batch=2,
    learning_rate=1e-3,
    warmup_steps=2,
    validate_every=2,
    validation_examples=2,
)


class Cut(Exception):
    """Stands for a run that is killed."""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """FRCRN of four channels, which is fast, wherever it is built."""
    monkeypatch.setitem(CONFIGS, "frcrn-16k", NARROW)


@pytest.fixture
def start(narrow: None, tmp_path: Path) -> Path:
    """Weights to start from, as they are published: a plain state dict."""
    path = tmp_path / "pytorch_model.bin"
    torch.save(load_model("frcrn-16k", seed=7).network.state_dict(), path)
    return path


@pytest.fixture
def batch(speech: list[np.ndarray], noise: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    noisy, clean = draw_batch((1,), speech, noise, RECIPE.mix, 2)
    return torch.from_numpy(noisy), torch.from_numpy(clean)


@pytest.mark.parametrize("mode", ["global", "cumulative", "window:0.1"])
def test_loss_falls_on_one_batch(
    start: Path, batch: tuple[torch.Tensor, torch.Tensor], mode: str
) -> None:
    task = FrcrnTask(SPEC, mode, load_checkpoint(start))
    run = TrainingRun(task, replace(RECIPE, steps=100, learning_rate=5e-3), "cpu", amp=False)
    losses = [run.train_step(*batch)[0] for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]
    assert run.skipped == 0


def test_batch_norms_keep_their_statistics_when_fine_tuning(
    start: Path, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    checkpoint = load_checkpoint(start)
    run = TrainingRun(FrcrnTask(SPEC, checkpoint=checkpoint), RECIPE, "cpu", amp=False)
    run.train_step(*batch)
    state = run.task.weights(run.network)
    assert any(not torch.equal(state[name], value) for name, value in checkpoint.state.items())
    for name, value in checkpoint.state.items():
        if "running" in name:
            assert torch.equal(state[name], value), name
    fresh = TrainingRun(FrcrnTask(SPEC), RECIPE, "cpu", amp=False)
    before = fresh.network.get_buffer("network.unet.encoder0.bn.bn_re.running_mean").clone()
    fresh.train_step(*batch)
    after = fresh.network.get_buffer("network.unet.encoder0.bn.bn_re.running_mean")
    assert not torch.equal(after, before)


def test_what_is_validated_is_what_the_pipeline_gives(
    start: Path, speech: list[np.ndarray], noise: list[np.ndarray]
) -> None:
    model = load_model("frcrn-16k", start)
    length = 28000  # which the padding rule leaves alone; frames cover 27840
    clean = torch.from_numpy(np.concatenate(speech[:2])[:length])
    noisy = clean + torch.from_numpy(np.concatenate(noise[:2])[:length])
    inside = slice(320, 27840 - 320)
    enhanced = model.pipeline()(noisy)[inside]
    expected = si_snr_db(enhanced[None, None], clean[None, None, inside]) - si_snr_db(
        noisy[None, None, inside], clean[None, None, inside]
    )
    task = FrcrnTask(SPEC)
    network = WaveformNetwork(model.network, task.stft)
    with torch.no_grad():
        found = task.improvement_db(network, noisy[None, None], clean[None, None])
        quiet = task.improvement_db(network, 0.01 * noisy[None, None], 0.01 * clean[None, None])
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert quiet.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_resume_continues_exactly(
    start: Path, tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    task = FrcrnTask(SPEC, "cumulative", load_checkpoint(start))
    whole: list[Progress] = []
    train(task, RECIPE, voices, noises, tmp_path / "whole", on_progress=whole.append)

    def cut_at_3(progress: Progress) -> None:
        if progress.step == 3:  # one step after the last saved state
            raise Cut

    with pytest.raises(Cut):
        train(task, RECIPE, voices, noises, tmp_path / "cut", on_progress=cut_at_3)
    rest: list[Progress] = []
    train(task, RECIPE, voices, noises, tmp_path / "cut", resume=True, on_progress=rest.append)
    for one, other in zip(whole[2:], rest, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    ends = [torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "cut")]
    for part in ("network", "average"):
        for name, value in ends[0][part].items():
            assert torch.equal(value, ends[1][part][name]), name

    for other in (
        FrcrnTask(SPEC, "global", task.checkpoint),
        FrcrnTask(SPEC, "cumulative"),
        FrcrnTask(find_model("frcrn-16k-512"), "cumulative"),
    ):
        with pytest.raises(CheckpointError, match="Resume with the options it was started with"):
            train(other, RECIPE, voices, noises, tmp_path / "cut", resume=True)


def test_weights_carry_what_they_were_trained_with(
    start: Path, tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    task = FrcrnTask(SPEC, "window:0.1", load_checkpoint(start))
    result = train(task, replace(RECIPE, steps=1), voices, noises, tmp_path / "run")
    assert result.weights.name == "frcrn-16k.safetensors"
    with safe_open(result.weights, framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata.pop("recipe"))["learning_rate"] == RECIPE.learning_rate
    assert metadata == {
        "model": "frcrn-16k",
        "sample_rate": "16000",
        "level": "active_rms",
        "squeeze_excite": "window:0.1",
        "training_steps": str(result.best_step),
        "fine_tuned_from": load_checkpoint(start).sha256,
    }
    loaded = load_model(None, result.weights)
    assert loaded.spec.name == "frcrn-16k"
    assert loaded.variant == {"squeeze_excite": "window:0.1"}
    assert isinstance(loaded.network, FRCRN)
    assert loaded.network.config.pooling == 5  # frames of 20 ms
    assert load_model(None, result.weights, options={"squeeze_excite": "global"}).variant == {
        "squeeze_excite": "global"
    }


def test_a_squeeze_excite_that_is_not_understood() -> None:
    with pytest.raises(UserError, match="--squeeze-excite sometimes: takes global, cumulative"):
        FrcrnTask(SPEC, "sometimes")


@pytest.mark.slow
def test_a_network_of_full_size_trains(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    name = "frcrn-16k-512"
    recipe = replace(RECIPE, steps=2, warmup_steps=1)
    history: list[Progress] = []
    task = FrcrnTask(find_model(name), "cumulative")
    result = train(task, recipe, voices, noises, tmp_path, on_progress=history.append)
    assert result.parameters > 9e6
    assert all(np.isfinite(progress.loss) for progress in history)
    loaded = load_model(None, result.weights)
    assert loaded.spec.name == name
    assert loaded.variant == {"squeeze_excite": "cumulative"}
