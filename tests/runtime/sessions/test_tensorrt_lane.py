import logging
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.gpu import use_gpu
from frcrn_export.runtime.sessions.tensorrt_contexts import ClassicContexts
from frcrn_export.runtime.sessions.tensorrt_engine import Engine, load_engine
from frcrn_export.runtime.sessions.tensorrt_lane import Lane
from tests.bundles import write_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine


@pytest.fixture
def engine(gpu: SimulatedGpu, tmp_path: Path) -> Engine:
    root = write_bundle(tmp_path / "bundle", gain=2.0)
    entry = add_engine(root, low=(1, 1, 1), best=(1, 1, 100), high=(4, 1, 1000))
    return load_engine(open_bundle(root), entry)


def open_lane(engine: Engine) -> Lane:
    return Lane(engine, use_gpu(), lambda device, stream: ClassicContexts(engine, device, stream))


def run(lane: Lane, samples: int) -> None:
    inputs = np.random.default_rng(samples).standard_normal((1, 1, samples)).astype(np.float32)
    np.testing.assert_array_equal(lane.run(inputs), 2 * inputs)


def test_a_shape_is_replayed_from_its_third_run_on(gpu: SimulatedGpu, engine: Engine) -> None:
    lane = open_lane(engine)
    launches = []
    for _ in range(4):
        run(lane, 100)
        launches.append(gpu.graph_launches)
    assert launches == [0, 0, 1, 2]
    assert gpu.executions == 4


def test_shapes_that_come_once_are_not_captured(gpu: SimulatedGpu, engine: Engine) -> None:
    lane = open_lane(engine)
    for samples in range(1, 30):
        run(lane, samples)
    assert (gpu.graph_launches, gpu.contexts) == (0, 1)


def test_every_captured_shape_has_a_context_of_its_own(gpu: SimulatedGpu, engine: Engine) -> None:
    lane = open_lane(engine)
    for _ in range(5):
        for samples in (10, 20, 30):
            run(lane, samples)
    assert gpu.contexts == 1 + 3
    assert gpu.graph_launches == 3 * 3


def test_the_graph_that_was_not_used_for_longest_goes(gpu: SimulatedGpu, engine: Engine) -> None:
    lane = open_lane(engine)
    for samples in (10, 20, 30, 40):
        run(lane, samples)
        run(lane, samples)
    run(lane, 10)
    run(lane, 50)
    run(lane, 50)  # captured, in the place of 20
    launches = gpu.graph_launches
    for samples in (10, 30, 40, 50):
        run(lane, samples)
    assert gpu.graph_launches == launches + 4
    run(lane, 20)
    assert gpu.graph_launches == launches + 4


def test_what_cannot_be_captured_runs_without_a_graph(
    gpu: SimulatedGpu, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.capture_fails = True
    lane = open_lane(engine)
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            run(lane, 100)
    assert (gpu.executions, gpu.graph_launches) == (4, 0)
    assert caplog.text.count("no CUDA graph for (1, 1, 100)") == 1


def test_float64_and_other_strides_are_taken(engine: Engine) -> None:
    lane = open_lane(engine)
    inputs = np.arange(20.0).reshape(1, 1, 20)[..., ::2]
    np.testing.assert_array_equal(lane.run(inputs), 2 * inputs)
