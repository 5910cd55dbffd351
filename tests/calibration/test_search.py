"""Which layers end in INT8: a network whose layers hurt by so many dB each, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frcrn_export.calibration.acceptance import quality_gates
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality_scores import ClipQuality, Quality
from frcrn_export.calibration.search import Search, SnrOf, find_names
from frcrn_export.runtime.bundle.manifest import Weights
from tests.calibration.test_sensitivity import layer

RANDOM = Weights(source="random", name="seed 1", seed=1)


@dataclass
class Network:
    """Layers whose noise powers add up; hears files that are lists of names."""

    noises: dict[str, float]
    recording: float = 1.0
    heard: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    fails_after: int | None = None

    def judge(self, quick: bool) -> Any:
        def run(model: bytes, *, scored: bool = True, progress: object = None) -> Quality:
            assert scored is not quick
            if quick and self.fails_after == len(self.alone):
                raise KeyboardInterrupt
            (self.alone if quick else self.heard).append(model.decode())
            noise = sum(self.noises[name] for name in model.decode().split())
            snr = 100.0 if noise == 0 else float(-10 * np.log10(noise))
            return Quality((ClipQuality("clip", 1.0, Scores(), snr),))

        class Judging:
            clips = (SimpleNamespace(noisy=np.float32([self.recording])),)
            __call__ = staticmethod(run)

        return Judging()

    @contextmanager
    def damage_meter(self) -> Iterator[SnrOf]:
        judge = self.judge(quick=True)
        yield lambda names: judge(quantized(names), scored=False).mean_core_snr_db

    def find(self, auto: bool = True, seconds: float = 60.0) -> Search:
        nothing = Quality((ClipQuality("clip", 1.0, Scores(), None),))
        return find_names(
            [layer(name) for name in self.noises],
            quantized,
            self.judge(quick=False),
            lambda quality: quality_gates(nothing, quality, RANDOM),
            auto=auto,
            damage_meter=self.damage_meter,
            seconds=seconds,
        )


def quantized(names: Collection[str]) -> bytes:
    return " ".join(sorted(names)).encode()


def test_all_layers_where_they_pass() -> None:
    network = Network({"a": 0.001, "b": 0.002})
    found = network.find()
    assert found.names == {"a", "b"}
    assert (network.heard, network.alone) == (["a b"], [])
    assert (found.damages, len(found.points), found.points[0].passed) == ({}, 1, True)


def test_without_auto_nothing_is_searched() -> None:
    network = Network({"a": 0.1, "b": 0.002})
    found = network.find(auto=False)
    assert (found.names, found.points[-1].passed) == ({"a", "b"}, False)
    assert (network.heard, network.alone) == (["a b"], [])


def test_the_layers_that_make_most_noise_are_given_back() -> None:
    network = Network({"a": 0.002, "b": 0.02, "c": 0.001, "d": 0.5, "e": 0.0005}, recording=2.0)
    found = network.find()
    assert found.names == {"a", "c", "e"}
    assert found.quality.mean_core_snr_db == pytest.approx(-10 * np.log10(0.0035))
    assert network.alone == ["a", "b", "c", "d", "e"]
    assert found.damages["b"] == pytest.approx(-10 * np.log10(0.02))
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


def test_a_second_search_measures_no_damage_again() -> None:
    noises = {"a": 0.002, "b": 0.2, "c": 0.001}
    first = Network(noises, recording=4.0)
    before = first.find()
    second = Network(noises, recording=4.0)
    after = second.find()
    assert len(first.alone) == 3
    assert second.alone == []
    assert (after.names, after.damages) == (before.names, before.damages)
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


def test_without_time_for_damages_it_still_finds_what_passes() -> None:
    network = Network({"a": 0.002, "b": 0.2, "c": 0.001}, recording=7.0)
    found = network.find(seconds=-1.0)
    assert network.alone == []
    assert found.points[-1].passed
    assert found.damages == {}
