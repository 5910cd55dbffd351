from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from frcrn_export.calibration import ranges
from frcrn_export.calibration.clips import ClipSet, choose_clips, read_clip
from frcrn_export.calibration.feeds import feeds
from frcrn_export.calibration.histogram import Histogram
from frcrn_export.calibration.ranges import observe
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.cache import CACHE_VARIABLE
from frcrn_export.runtime.errors import AudioError, CheckFailed
from tests.bundles import STFT, manifest, write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle

RATE = 16_000
TENSORS = ["inputs", "enhanced"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    folder = tmp_path_factory.mktemp("clips")
    for index in range(4):
        noise = np.random.default_rng(index).standard_normal((2 + index) * RATE // 2)
        soundfile.write(folder / f"{index}.wav", 0.1 * noise, RATE, subtype="FLOAT")
    return choose_clips([folder], RATE)


@pytest.fixture
def core(tmp_path: Path) -> tuple[Path, Manifest, FileEntry]:
    """A core that multiplies by -2."""
    path = write_bundle(tmp_path / "b", manifest(stft=STFT, level="active_rms"), gain=-2.0)
    described = open_bundle(path).manifest
    return path / "core.onnx", described, described.files[0]


def same(first: dict[str, Histogram], second: dict[str, Histogram]) -> bool:
    return first.keys() == second.keys() and all(
        (one.low, one.high, one.limit) == (second[name].low, second[name].high, second[name].limit)
        and np.array_equal(one.counts, second[name].counts)
        for name, one in first.items()
    )


def test_the_ranges_are_those_of_all_feeds(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet
) -> None:
    model, described, entry = core
    found = observe(model, TENSORS, described, entry, clips)
    fed = [
        feed["inputs"]
        for clip in clips.clips
        for feed in feeds(described, entry, read_clip(clip, RATE), None, ranges.OBSERVED_SECONDS)
    ]
    low, high = min(each.min() for each in fed), max(each.max() for each in fed)
    assert (found["inputs"].low, found["inputs"].high) == (low, high)
    assert (found["enhanced"].low, found["enhanced"].high) == (-2 * high, -2 * low)
    assert found["inputs"].counts.sum() == 4 << 15
    assert same(observe(onnx.load(model), TENSORS, described, entry, clips), found)


def stop_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_what_was_interrupted_goes_on_where_it_was(
    core: tuple[Path, Manifest, FileEntry],
    clips: ClipSet,
    cache: Path,
) -> None:
    model, described, entry = core
    with pytest.raises(KeyboardInterrupt):
        observe(model, TENSORS, described, entry, clips, progress=stop_after(2))
    (kept,) = (cache / "calibration").iterdir()  # nothing half-written beside it
    told: list[tuple[int, int]] = []
    found = observe(
        model, TENSORS, described, entry, clips, progress=lambda *done: told.append(done)
    )
    assert told == [(2, 4), (3, 4), (4, 4)]
    kept.unlink()
    assert same(observe(model, TENSORS, described, entry, clips), found)


def test_what_is_in_the_cache_is_not_measured_again(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, described, entry = core
    found = observe(model, TENSORS, described, entry, clips)
    monkeypatch.setattr(ranges, "Observer", None)
    assert same(observe(model, TENSORS, described, entry, clips), found)


def test_another_model_or_data_or_tensors_are_measured_anew(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, cache: Path, tmp_path: Path
) -> None:
    model, described, entry = core
    observe(model, TENSORS, described, entry, clips)
    other = write_bundle(tmp_path / "other", manifest(stft=STFT, level="active_rms"), gain=3.0)
    again = observe(other / "core.onnx", TENSORS, described, entry, clips)
    assert again["enhanced"].low == pytest.approx(3 * again["inputs"].low)
    fewer = ClipSet(clips.clips[:1], RATE, 0)
    assert observe(model, TENSORS, described, entry, fewer)["inputs"].counts.sum() == 1 << 15
    assert list(observe(model, ["enhanced"], described, entry, clips)) == ["enhanced"]
    quiet = manifest(stft=STFT, level="none")
    assert observe(model, TENSORS, quiet, entry, clips)["inputs"].high > again["inputs"].high
    assert len(list((cache / "calibration").iterdir())) == 5


@pytest.mark.parametrize("keep", [0, 100, -20])
def test_a_damaged_cache_is_measured_anew(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, cache: Path, keep: int
) -> None:
    model, described, entry = core
    found = observe(model, TENSORS, described, entry, clips)
    (kept,) = (cache / "calibration").iterdir()
    kept.write_bytes(kept.read_bytes()[:keep])
    assert same(observe(model, TENSORS, described, entry, clips), found)


def test_the_states_of_a_stream_are_those_it_had(tmp_path: Path, clips: ClipSet) -> None:
    """One pole at 1/2: samples of a stream add up to more than the largest of them."""
    path = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=160), None)
    described = open_bundle(path).manifest
    (entry,) = described.files
    found = observe(path / entry.path, ["wave", "y", "enhanced"], described, entry, clips)
    states, largest = [], 0.0
    for clip in clips.clips:
        audio = read_clip(clip, RATE)
        largest = max(largest, float(np.abs(audio[: round(2.5 * RATE)]).max()))
        state, outputs = 0.0, []
        for sample in audio:
            state = float(sample) + state / 2
            outputs.append(state)
        states += [0.0, *outputs[159::160]]
    assert found["y"].high == pytest.approx(max(states), rel=1e-5)
    assert found["y"].low == pytest.approx(min(states), rel=1e-5)
    assert found["wave"].largest == pytest.approx(largest)
    assert found["enhanced"].counts.sum() == sum(
        256 * -(-round(clip.seconds * RATE) // 160) for clip in clips.clips
    )


def test_a_network_that_overflows_is_said_with_the_clip(tmp_path: Path, clips: ClipSet) -> None:
    path = write_bundle(tmp_path / "b", gain=float("inf"))
    described = open_bundle(path).manifest
    with pytest.raises(CheckFailed, match=r"\.wav: enhanced is not finite in core\.onnx; remove"):
        observe(path / "core.onnx", TENSORS, described, described.files[0], clips)


def test_a_clip_that_changed_stops_it_and_what_was_done_is_kept(
    core: tuple[Path, Manifest, FileEntry], clips: ClipSet, cache: Path, tmp_path: Path
) -> None:
    model, described, entry = core
    for clip in clips.clips:
        (tmp_path / clip.path.name).write_bytes(clip.path.read_bytes())
    own = choose_clips([tmp_path], RATE)
    soundfile.write(own.clips[2].path, np.ones(RATE) / 2, RATE)
    with pytest.raises(AudioError, match="changed"):
        observe(model, TENSORS, described, entry, own)
    soundfile.write(own.clips[2].path, read_clip(clips.clips[2], RATE), RATE, subtype="FLOAT")
    told: list[int] = []
    observe(model, TENSORS, described, entry, own, progress=lambda done, _: told.append(done))
    assert told == [2, 3, 4]
