"""The networks that ship, through libfrcrn: PyTorch's reference outputs, and Python's samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.cli import main
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.runtime.cpp.builds import ROOT
from tests.runtime.cpp.library import FrcrnError, Library

pytestmark = pytest.mark.slow

BLOCKS = (0, 1, 7, 100, 160, 441, 3_000)


@dataclass(frozen=True)
class Published:
    """A network, how it is exported, and how close C++ must come to Python."""

    options: tuple[str, ...]
    seconds: float
    least_db: float
    largest: float
    streams: bool = True


NETWORKS = {
    "wave-unet-16k": Published((), 5.0, 120.0, 1e-6),
    "wave-unet-12x24": Published(
        ("--model", "wave-unet-12x24", "--random-weights", "0"), 3.5, 110.0, 1e-5, streams=False
    ),
    "frcrn-16k": Published(
        ("--model", "frcrn-16k", "--random-weights", "0", "--squeeze-excite", "cumulative"),
        2.0,
        110.0,
        1e-5,
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Published, Path]:
    published = NETWORKS[request.param]
    path = tmp_path_factory.mktemp("published") / "bundle"
    with pytest.raises(SystemExit) as left:
        streaming = ["--streaming"] * published.streams
        main(["onnx", *published.options, *streaming, "--output", str(path)])
    assert not left.value.code
    return published, path


def clip(published: Published) -> np.ndarray:
    wave, rate = soundfile.read(ROOT / "exporters/assets/demo.noisy.flac", dtype="float32")
    return wave[: int(published.seconds * rate)]


def check(found: np.ndarray, expected: np.ndarray, published: Published) -> None:
    assert snr_db(expected, found) >= published.least_db
    np.testing.assert_allclose(found, expected, rtol=0, atol=published.largest)


def test_the_reference_outputs_of_the_bundle(
    network: tuple[Published, Path], library: Library
) -> None:
    checks = library.open(network[1]).verify()
    stages = {name.partition(".")[0] for _, name, *_ in checks}
    assert {"core", "pipeline", "levelled"} <= stages
    assert ({"streaming", "stream"} <= stages) is network[0].streams
    assert all(passed for *_, passed in checks)


def test_recordings_are_those_of_python(network: tuple[Published, Path], library: Library) -> None:
    published, path = network
    wave = clip(published)
    expected = Denoiser.open(path, "onnxruntime-cpu")(wave)
    check(library.open(path).denoise(wave), expected, published)


def test_streams_are_those_of_python(network: tuple[Published, Path], library: Library) -> None:
    published, path = network
    model = library.open(path)
    if not published.streams:
        with pytest.raises(FrcrnError, match="FRCRN_UNSUPPORTED: .*no streaming core"):
            model.stream()
        return
    wave = clip(published)
    python = StreamingDenoiser.open(path, "onnxruntime-cpu")
    stream = model.stream()
    rng = np.random.default_rng(0)
    found, expected, start = [], [], 0
    while start < len(wave):
        block = wave[start : start + int(rng.choice(BLOCKS))]
        start += len(block)
        found.append(stream.process_in_place(block))
        expected.append(python.process(block))
        assert len(found[-1]) == len(expected[-1])
    found.append(stream.flush())
    expected.append(python.flush())
    check(np.concatenate(found), np.concatenate(expected), published)
    latency = python.latency
    info = model.info()
    assert (info.chunk, info.window, info.lookahead, info.latency) == (
        latency.chunk,
        latency.window,
        latency.lookahead,
        latency.samples,
    )
