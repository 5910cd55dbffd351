"""Which layers end in INT8: a network whose layers hurt by so many dB each, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.calibration import search as sensitivity
from frcrn_export.calibration.graph.layers import Layer
from frcrn_export.calibration.int8_gates import quality_gates
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality_scores import ClipQuality, Quality
from frcrn_export.calibration.search import (
    Search,
    Sensitivities,
    SnrOf,
    fallback_order,
    find_names,
    measure_sensitivities,
    search,
    sensitivities_file,
)
from frcrn_export.runtime.bundle.manifest import Weights
from frcrn_export.runtime.cache import cache_dir


def layer(name: str, multiplications: int = 100) -> Layer:
    return Layer(name, "Conv", "x", "w", None, "y", multiplications, None)


@given(st.integers(1, 40), st.data())
def test_as_few_layers_go_back_as_it_takes(count: int, data: st.DataObject) -> None:
    """Where more layers in float are never worse."""
    order = [f"layer{index}" for index in range(count)]
    needed = data.draw(st.integers(1, count))
    heard: list[frozenset[str]] = []

    def passes(layers: frozenset[str]) -> bool:
        heard.append(layers)
        return len(layers) <= count - needed

    trials = search(order, passes)
    assert trials[-1].passed
    assert trials[-1].names == frozenset(order[needed:])
    assert len(set(heard)) == len(heard) <= max(1, count.bit_length())
    tried = [trial for trial in trials if trial.names]
    assert {trial.names for trial in tried} == {layers for layers in heard if layers}
    assert [trial.passed for trial in tried] == [
        len(trial.names) <= count - needed for trial in tried
    ]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_where_nothing_passes_nothing_is_left(count: int) -> None:
    trials = search([f"layer{index}" for index in range(count)], lambda layers: False)
    assert trials[-1].names == frozenset()
    assert not any(trial.passed for trial in trials[:-1])


def test_progress_of_the_search() -> None:
    told: list[tuple[str, int, int]] = []
    search(
        list("abcd"),
        lambda layers: len(layers) < 4,
        lambda phase, done, steps: told.append((phase, done, steps)),
    )
    assert told == [("2 of 4 back in float", 0, 3), ("1 of 4 back in float", 1, 3)]


def test_noise_for_the_work_decides_who_goes_back_first() -> None:
    layers = [layer("much", 1000), layer("bad", 100), layer("small", 1), layer("good", 100)]
    sensitivities = {"much": 20.0, "bad": 20.0, "small": 20.0, "good": 40.0}
    assert fallback_order(layers, sensitivities) == ["small", "bad", "much", "good"]


def test_what_was_not_measured_is_taken_for_usual() -> None:
    """For one of which half make more noise, however much the worst makes."""
    layers = [layer(name) for name in ("good", "unknown", "worse", "worst")]
    sensitivities = {"good": 40.0, "worse": 20.0, "worst": -90.0}
    assert fallback_order(layers, sensitivities) == ["worst", "unknown", "worse", "good"]
    assert fallback_order([layer("a", 5), layer("b", 1)], {}) == ["b", "a"]


def test_sensitivities_are_measured_once(tmp_path: Path) -> None:
    layers = [layer("small", 1), layer("large", 9), layer("middle", 5)]
    file = tmp_path / "new" / "sensitivities.json"
    heard: list[str] = []

    def snr_of(names: Collection[str]) -> float:
        (name,) = names
        heard.append(name)
        return 10.0 + len(heard)

    assert measure_sensitivities(layers, snr_of, Sensitivities(file), seconds=60)
    assert heard == ["large", "middle", "small"]
    again = Sensitivities(file)
    assert again.values == {"large": 11.0, "middle": 12.0, "small": 13.0}
    assert measure_sensitivities(layers, lambda names: pytest.fail("again"), again, seconds=0)


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    layers = [layer(name, 10 - index) for index, name in enumerate("abcd")]
    file = tmp_path / "sensitivities.json"
    heard: list[str] = []

    def interrupted(names: Collection[str]) -> float:
        heard.extend(names)
        if len(heard) == 3:
            raise KeyboardInterrupt
        return 30.0

    with pytest.raises(KeyboardInterrupt):
        measure_sensitivities(layers, interrupted, Sensitivities(file), seconds=60)
    assert Sensitivities(file).values == {"a": 30.0, "b": 30.0}
    heard.clear()

    def measured(names: Collection[str]) -> float:
        heard.extend(names)
        return 20.0

    sensitivities = Sensitivities(file)
    assert measure_sensitivities(layers, measured, sensitivities, seconds=60)
    assert heard == ["c", "d"]
    assert sensitivities.values == {"a": 30.0, "b": 30.0, "c": 20.0, "d": 20.0}


def test_no_more_time_than_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer takes 10 s of this clock; the one that was begun is finished."""
    now = [0.0]
    monkeypatch.setattr(sensitivity, "monotonic", lambda: now[0])

    def snr_of(names: Collection[str]) -> float:
        now[0] += 10
        return 20.0

    layers = [layer(name, 10 - index) for index, name in enumerate("abcdef")]
    sensitivities = Sensitivities(tmp_path / "sensitivities.json")
    assert not measure_sensitivities(layers, snr_of, sensitivities, seconds=25)
    assert list(sensitivities.values) == ["a", "b", "c"]
    assert not measure_sensitivities(layers, snr_of, sensitivities, seconds=5)
    assert measure_sensitivities(layers, snr_of, sensitivities, seconds=25)
    assert list(sensitivities.values) == list("abcdef")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "much"}', b"[1]", b"\xff"])
def test_what_cannot_be_read_is_measured_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sensitivities.json"
    file.write_bytes(content)
    sensitivities = Sensitivities(file)
    assert sensitivities.values == {}
    sensitivities.add("a", 20.0)
    assert Sensitivities(file).values == {"a": 20.0}


def test_each_model_and_set_of_recordings_has_a_file_of_its_own() -> None:
    parts = [(b"model", b"a"), (b"model", b"b"), (b"other", b"a"), (b"modela",), (b"a", b"model")]
    files = {sensitivities_file(*each) for each in parts}
    assert len(files) == 5
    assert {file.parent for file in files} == {cache_dir() / "sensitivity"}
    assert sensitivities_file(b"model", b"a") in files


RANDOM = Weights(source="random", name="seed 1", seed=1)


@dataclass
class Network:
    """Layers whose noise powers add up; hears files that are lists of names."""

    noises: dict[str, float]
    recording: float = 1.0
    heard: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    fails_after: int | None = None

    def evaluator(self, quick: bool) -> Any:
        def run(model: bytes, *, scored: bool = True, progress: object = None) -> Quality:
            assert scored is not quick
            if quick and self.fails_after == len(self.alone):
                raise KeyboardInterrupt
            (self.alone if quick else self.heard).append(model.decode())
            noise = sum(self.noises[name] for name in model.decode().split())
            snr = 100.0 if noise == 0 else float(-10 * np.log10(noise))
            return Quality((ClipQuality("clip", 1.0, Scores(), snr),))

        class Evaluating:
            clips = (SimpleNamespace(noisy=np.float32([self.recording])),)
            __call__ = staticmethod(run)

        return Evaluating()

    @contextmanager
    def sensitivity_meter(self) -> Iterator[SnrOf]:
        evaluator = self.evaluator(quick=True)
        yield lambda names: evaluator(quantized(names), scored=False).mean_core_snr_db

    def find(self, auto: bool = True, seconds: float = 60.0) -> Search:
        nothing = Quality((ClipQuality("clip", 1.0, Scores(), None),))
        return find_names(
            [layer(name) for name in self.noises],
            quantized,
            self.evaluator(quick=False),
            lambda quality: quality_gates(nothing, quality, RANDOM),
            auto=auto,
            sensitivity_meter=self.sensitivity_meter,
            seconds=seconds,
        )


def quantized(names: Collection[str]) -> bytes:
    return " ".join(sorted(names)).encode()


def test_all_layers_where_they_pass() -> None:
    network = Network({"a": 0.001, "b": 0.002})
    found = network.find()
    assert found.names == {"a", "b"}
    assert (network.heard, network.alone) == (["a b"], [])
    assert (found.sensitivities, len(found.points), found.points[0].passed) == ({}, 1, True)


def test_without_auto_nothing_is_searched() -> None:
    network = Network({"a": 0.1, "b": 0.002})
    found = network.find(auto=False)
    assert (found.names, found.points[-1].passed) == ({"a", "b"}, False)
    assert (network.heard, network.alone) == (["a b"], [])


def test_the_layers_that_make_most_noise_fall_back_to_float() -> None:
    network = Network({"a": 0.002, "b": 0.02, "c": 0.001, "d": 0.5, "e": 0.0005}, recording=2.0)
    found = network.find()
    assert found.names == {"a", "c", "e"}
    assert found.quality.mean_core_snr_db == pytest.approx(-10 * np.log10(0.0035))
    assert network.alone == ["a", "b", "c", "d", "e"]
    assert found.sensitivities["b"] == pytest.approx(-10 * np.log10(0.02))
    assert found.points[0].names == set("abcde")
    assert not found.points[0].passed
    assert found.points[-1].passed
    assert sorted(map(len, map(str.split, network.heard))) == sorted(
        len(point.names) for point in found.points
    )


def test_where_none_passes_all_layers_are_what_failed() -> None:
    found = Network({"a": 0.1, "b": 0.2}, recording=3.0).find()
    assert found.names == {"a", "b"}
    assert not any(point.passed for point in found.points)


def test_a_second_search_measures_no_sensitivity_again() -> None:
    noises = {"a": 0.002, "b": 0.2, "c": 0.001}
    first = Network(noises, recording=4.0)
    before = first.find()
    second = Network(noises, recording=4.0)
    after = second.find()
    assert len(first.alone) == 3
    assert second.alone == []
    assert (after.names, after.sensitivities) == (before.names, before.sensitivities)
    other = Network(noises, recording=5.0)  # judged by another recording
    other.find()
    assert len(other.alone) == 3


def test_an_interrupted_search_goes_on() -> None:
    noises = {"a": 0.002, "b": 0.2, "c": 0.001, "d": 0.003}
    broken = Network(noises, recording=6.0, fails_after=2)
    with pytest.raises(KeyboardInterrupt):
        broken.find()
    resumed = Network(noises, recording=6.0)
    assert resumed.find().names == {"a", "c", "d"}
    assert broken.alone + resumed.alone == ["a", "b", "c", "d"]


def test_without_time_for_sensitivities_it_still_finds_what_passes() -> None:
    network = Network({"a": 0.002, "b": 0.2, "c": 0.001}, recording=7.0)
    found = network.find(seconds=-1.0)
    assert network.alone == []
    assert found.points[-1].passed
    assert found.sensitivities == {}
