"""What a run leaves, what another may go on from, and what a new one removes."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from frcrn_export.exporters.families.wave_unet.network import WaveUNetConfig
from frcrn_export.exporters.families.wave_unet.training import WaveUNetTask
from frcrn_export.exporters.recognition import load_checkpoint
from frcrn_export.exporters.training.data import MixRecipe, Recording
from frcrn_export.exporters.training.loop import Interrupted, Progress, train
from frcrn_export.exporters.training.outputs import read_curve, save_weights
from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.runtime.errors import CheckpointError, UserError

Recordings = list[Recording]

CONFIG = WaveUNetConfig(
    channels=(8, 12), strides=(4, 4), kernel_size=9, context_blocks=1, residual=True
)
TASK = WaveUNetTask(CONFIG)
TINY = Recipe(
    mix=MixRecipe(seconds=0.25, snr_db=(0.0, 0.0)),
    steps=4,
    minutes=None,
    batch=2,
    warmup_steps=2,
    validate_every=2,
    validation_examples=8,
)


class Killed(Exception):
    """Stands for a run that cannot save anything any more."""


def kill(progress: Progress) -> None:
    raise Killed


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_run_replaces_the_old_one_whole_or_not_at_all(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    train(TASK, TINY, voices, noises, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(UserError, match="of one source"):
        train(TASK, TINY, voices[:1] * 2, noises, tmp_path)
    assert files(tmp_path) == before
    with pytest.raises(Killed):  # before its first validation
        train(TASK, TINY, voices, noises, tmp_path, on_progress=kill)
    left = files(tmp_path).keys()
    assert {name for name in left if not name.startswith("events")} == {"curve.jsonl", "notes.txt"}
    assert not left & {name for name in before if name.startswith("events")}
    assert read_curve(tmp_path) == []
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(TASK, TINY, voices, noises, tmp_path, resume=True)


def test_a_refused_run_makes_no_folder(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    with pytest.raises(UserError, match="of one source"):
        train(TASK, TINY, voices, noises[:1], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_saved_and_goes_on_exactly(
    tmp_path: Path, voices: Recordings, noises: Recordings, number: signal.Signals
) -> None:
    whole: list[Progress] = []
    train(TASK, TINY, voices, noises, tmp_path / "whole", on_progress=whole.append)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupt(progress: Progress) -> None:
        if progress.step == 1:  # before the first validation
            signal.raise_signal(number)

    cut = tmp_path / "cut"
    with pytest.raises(Interrupted, match="saved at step 1"):
        train(TASK, TINY, voices, noises, cut, on_progress=interrupt)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    rest: list[Progress] = []
    train(TASK, TINY, voices, noises, cut, resume=True, on_progress=rest.append)
    for one, other in zip(whole[1:], rest, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    curves = [[replace(p, seconds=0.0) for p in read_curve(tmp_path / d)] for d in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_a_second_interrupt_does_not_wait(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    def interrupt(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(TASK, TINY, voices, noises, tmp_path, on_progress=interrupt)
    assert caught.type is KeyboardInterrupt
    assert not (tmp_path / "last.pt").exists()


def test_a_resume_with_other_examples_is_refused(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    recipe = replace(TINY, steps=2)
    train(TASK, recipe, voices, noises, tmp_path)
    before = files(tmp_path)
    longer = replace(recipe.mix, seconds=0.5)
    quiet = replace(recipe.mix, room_share=0.5)
    for change, message in (
        ({"seed": 3}, "--seed 0, not 3: go on with --resume --seed 0"),
        ({"batch": 4}, "--batch 2, not 4: go on with --resume --batch 2"),
        ({"mix": longer}, "--seconds 0.25, not 0.5: go on with --resume --seconds 0.25"),
        ({"mix": quiet}, "room share 0.1 in its examples, not 0.5: start anew with --force"),
    ):
        with pytest.raises(UserError, match=message):
            train(TASK, replace(TINY, **change), voices, noises, tmp_path, resume=True)  # type: ignore[arg-type]
    held_out = torch.load(tmp_path / "last.pt", weights_only=True)["held_out"]
    rest = [voice for voice in voices if voice.source not in held_out["speech"]]
    with pytest.raises(UserError, match="--speech lacks 1 of the 1 sources"):
        train(TASK, TINY, rest, noises, tmp_path, resume=True)
    assert files(tmp_path) == before
    more = [*voices, *(replace(voice, source=f"{voice.source} too") for voice in voices)]
    train(TASK, TINY, more, noises, tmp_path, resume=True)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["held_out"] == held_out


def test_a_state_of_the_first_version_is_resumed(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    train(TASK, replace(TINY, steps=2), voices, noises, tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    for name in ("examples", "held_out", "losses", "start", "best_step"):
        del state[name]
    state["best"] = 99.0
    torch.save(state, tmp_path / "last.pt")
    result = train(TASK, TINY, voices, noises, tmp_path, resume=True)
    assert (result.steps, result.best, result.best_step) == (4, 99.0, None)


def test_another_network_is_told_in_words(
    tmp_path: Path, voices: Recordings, noises: Recordings
) -> None:
    train(TASK, replace(TINY, steps=2), voices, noises, tmp_path)
    other = WaveUNetTask(replace(CONFIG, channels=(4, 4), kernel_size=7))
    with pytest.raises(CheckpointError, match="channels 8,12, not 4,4; kernel size 9, not 7. Res"):
        train(other, TINY, voices, noises, tmp_path, resume=True)


def test_fine_tuning_never_ends_worse_than_it_started(
    tmp_path: Path,
    voices: Recordings,
    noises: Recordings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = train(TASK, TINY, voices, noises, tmp_path / "scratch")
    assert start.start is None
    assert start.best_step in (2, 4)
    task = WaveUNetTask(CONFIG, load_checkpoint(start.weights))
    improvements = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(TrainingRun, "_improvement_db", lambda run, *pair: next(improvements))
    result = train(task, TINY, voices, noises, tmp_path / "tuned")
    assert (result.start, result.best, result.best_step) == (3.0, 3.0, 0)
    tuned = load_checkpoint(result.weights)
    assert tuned.metadata["training_steps"] == "0"
    for name, value in load_checkpoint(start.weights).state.items():
        assert torch.equal(tuned.state[name], value), name
    assert [point.step for point in read_curve(tmp_path / "tuned")] == [0, 2, 4]


def test_equal_weights_are_equal_bytes_and_name_their_recipe(tmp_path: Path) -> None:
    run = TrainingRun(TASK, TINY, "cpu", amp=False)
    run.held_out = {"speech": ["ann"], "noise": ["rain", "wind"]}
    paths = [tmp_path / f"{index}.safetensors" for index in range(4)]
    for path in paths:
        save_weights(run, path)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], framework="pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("out.bias"), run.average.state_dict()["out.bias"])
    recipe = json.loads(metadata["recipe"])
    assert recipe["held_out"] == {"speech": 1, "noise": 2}
    assert (recipe["seed"], recipe["batch"], recipe["seconds"]) == (0, 2, 0.25)
