"""Streams whose attenuation limit changes, and the delay that they state."""

from pathlib import Path

import numpy as np
import pytest

from tests.runtime.cpp.library import FrcrnError, Library, Stream
from tests.streaming_bundles import Core, write_streaming_bundle

CHUNK = 50


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("limits") / "bundle"
    return write_streaming_bundle(path, Core("one_pole", CHUNK), stft=None)


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def whole(stream: Stream, wave: np.ndarray) -> np.ndarray:
    return np.concatenate([stream.process(wave), stream.flush()])


def test_a_limit_fades_to_another(bundle: Path, library: Library) -> None:
    model = library.open(bundle)
    wave, half = noise(20 * CHUNK), 10 * CHUNK
    stream = model.stream(attenuation_limit_db=6.0)
    first = stream.process(wave[:half])
    library.call("frcrn_stream_set_attenuation_limit", stream.handle, -1.0)
    second = np.concatenate([stream.process(wave[half:]), stream.flush()])
    before = whole(model.stream(attenuation_limit_db=6.0), wave)
    after = whole(model.stream(), wave)
    np.testing.assert_array_equal(first, before[:half])
    np.testing.assert_array_equal(second[CHUNK:], after[half + CHUNK :])
    share = np.arange(1, CHUNK + 1) / CHUNK
    expected = (1 - share) * before[half : half + CHUNK] + share * after[half : half + CHUNK]
    np.testing.assert_allclose(second[:CHUNK], expected, rtol=0, atol=1e-7)
    stream.reset()
    np.testing.assert_array_equal(whole(stream, wave), after)  # it stays
    with pytest.raises(FrcrnError, match="FRCRN_ARGUMENT.*NaN"):
        library.call("frcrn_stream_set_attenuation_limit", stream.handle, float("nan"))


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_the_latency_of_a_stream_is_never_exceeded(
    rate: int, bundle: Path, library: Library
) -> None:
    stream = library.open(bundle).stream(sample_rate=rate)
    latency = library.c.frcrn_stream_latency(stream.handle)
    assert latency == CHUNK if rate == 16_000 else latency > CHUNK * rate / 16_000
    given = returned = 0
    for _ in range(400):
        given += 64
        assert returned >= given - 64 - latency
        returned += len(stream.process(noise(64)))
    assert library.c.frcrn_stream_latency(None) == 0
