"""Streams through libfrcrn: the samples that Python gives, and as many in every call."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.bundle.manifest import HighPass, Level, StftSpec
from frcrn_export.runtime.streaming.audio_stream import AudioStream
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.network import open_network
from tests.bundles import STFT, manifest
from tests.runtime.cpp.library import FrcrnError, Library
from tests.runtime.cpp.test_recordings import noise, same
from tests.streaming_bundles import Core, write_streaming_bundle

SHORT = StftSpec(window_length=64, hop_length=32, fft_length=64)
MIRRORED = StftSpec(window_length=64, hop_length=24, fft_length=80, window="hann", center=True)
ZEROS = StftSpec(
    window_length=64, hop_length=16, fft_length=64, window="hann", center=True, pad_mode="zeros"
)


def described(stft: StftSpec | None, level: Level, high_pass: bool) -> object:
    found = manifest(stft=stft, level=level, sample_rate=1_000)
    if stft is not None:
        found = msgspec.structs.replace(found, padding=whole_hops(stft))
    return msgspec.structs.replace(found, high_pass=HighPass() if high_pass else None)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, object]:
    stft = draw(st.sampled_from([None, SHORT, MIRRORED, ZEROS]))
    chunk = draw(st.sampled_from([1, 2, 5] if stft else [1, 16, 50]))
    lookahead = draw(st.integers(0, 7 if stft else 70))
    kind = draw(st.sampled_from(["delay", "halved_end", "coarse"] if lookahead else ["delay"]))
    return {
        "stft": stft,
        "core": Core(kind, chunk, lookahead),
        "level": draw(st.sampled_from(["active_rms", "peak", "none"])),
        "high_pass": draw(st.booleans()),
        "keep_level": draw(st.booleans()),
        "limit": draw(st.sampled_from([None, 0.0, 6.0])),
        "gain": draw(st.sampled_from([None, 0.5])),
        "blocks": draw(st.lists(st.integers(0, 300), max_size=12)),
        "in_place": draw(st.booleans()),
    }


@settings(max_examples=120)
@given(case=cases())
def test_blocks_of_any_length_give_the_samples_of_python(
    case: dict, library: Library, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = write_streaming_bundle(
        tmp_path_factory.mktemp("streams") / "bundle",
        case["core"],
        case["stft"],
        described=described(case["stft"], case["level"], case["high_pass"]),
    )
    python = StreamingDenoiser.open(
        bundle,
        "onnxruntime-cpu",
        gain=case["gain"],
        restore_level=not case["keep_level"],
        attenuation_limit=case["limit"],
    )
    stream = library.open(bundle).stream(
        keep_level=int(case["keep_level"]),
        attenuation_limit_db=-1.0 if case["limit"] is None else case["limit"],
        gain=case["gain"] or 0.0,
    )
    wave = noise(sum(case["blocks"]), level=0.5)
    give = stream.process_in_place if case["in_place"] else stream.process
    for _ in range(2):  # the second time after a reset
        start = 0
        for count in case["blocks"]:
            block = wave[start : start + count]
            start += count
            same(give(block), python.process(block))
        same(stream.flush(), python.flush())
        python.reset()
        stream.reset()


@pytest.mark.parametrize("level", ["active_rms", "peak"])
def test_the_level_of_a_long_stream(level: Level, library: Library, tmp_path: Path) -> None:
    """Longer than the memory of the level, with a pause and a loud end."""
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(chunk=2), STFT, level)
    rate = 16_000
    wave = np.concatenate(
        [noise(13 * rate), np.zeros(2 * rate, np.float32), noise(2 * rate, level=1.0)]
    )
    stream = library.open(bundle).stream(keep_level=1)
    python = StreamingDenoiser.open(bundle, "onnxruntime-cpu", restore_level=False)
    same(
        np.concatenate([stream.process(wave), stream.flush()]),
        np.concatenate([python.process(wave), python.flush()]),
    )


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("block", [100, 5_000])
def test_streams_of_every_rate_give_the_samples_of_python(
    rate: int, block: int, library: Library, tmp_path: Path
) -> None:
    with_filter = msgspec.structs.replace(
        manifest(stft=STFT, level="active_rms"), high_pass=HighPass()
    )
    bundle = write_streaming_bundle(
        tmp_path / "bundle", Core(lookahead=3), STFT, described=with_filter
    )
    wave = noise(rate) + np.float32(0.1)
    stream = library.open(bundle).stream(sample_rate=rate)
    python = AudioStream(open_network(bundle, "onnxruntime-cpu", 1), rate)
    found, expected = [], []
    for start in range(0, len(wave), block):
        found.append(stream.process_in_place(wave[start : start + block]))
        expected.append(python.process(wave[None, start : start + block])[0])
        assert stream.stats().samples_out <= stream.stats().samples_in
    found.append(stream.flush())
    expected.append(python.flush()[0])
    same(np.concatenate(found), np.concatenate(expected))


@pytest.mark.parametrize("rate", [1_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_no_sample_comes_later_than_the_latency(
    rate: int, library: Library, tmp_path: Path
) -> None:
    """Resamplers give samples in steps, whose pattern shows after seconds only."""
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(chunk=128), None)
    stream = library.open(bundle).stream(sample_rate=rate)
    latency = library.c.frcrn_stream_latency(stream.handle)
    block = np.zeros(61, np.float32)
    given = returned = worst = 0
    while given < 12 * max(rate, 16_000):
        returned += len(stream.process(block))
        given += len(block)
        worst = max(worst, given - returned)
    assert worst < latency
    assert latency < worst + 64 + 2 * 128 * rate / 16_000 + 64  # and not much later


def test_samples_that_are_no_audio_are_replaced_and_counted(
    library: Library, tmp_path: Path
) -> None:
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(chunk=4), None)
    stream = library.open(bundle).stream()
    block = np.array([1, np.nan, np.inf, -1e30, 0.5, 65536, 65537, 0], np.float32)
    expected = np.array([1, 0, 0, 0, 0.5, 65536, 0, 0], np.float32)
    np.testing.assert_array_equal(stream.process(block), expected)
    assert stream.stats().replaced_samples == 4
    rated = library.open(bundle).stream(sample_rate=48_000)
    rated.process(block)
    assert rated.stats().replaced_samples == 4


def test_output_that_is_not_finite_is_silence_and_a_new_beginning(
    library: Library, tmp_path: Path
) -> None:
    bundle = write_streaming_bundle(tmp_path / "bundle", Core("one_pole_fp16", chunk=4), None)
    stream = library.open(bundle).stream()
    python = StreamingDenoiser.open(bundle, "onnxruntime-cpu")
    wave = np.ones(40, np.float32)
    wave[17] = 65_536  # infinite in float16, and in the state from then on
    np.testing.assert_array_equal(stream.process(wave), python.process(wave))
    assert stream.stats().failed_calls == python.failed_calls == 1


def test_what_enters_the_core_is_bounded_and_counted(library: Library, tmp_path: Path) -> None:
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(chunk=4), None)
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"input_limit": null', '"input_limit": 0.5'))
    stream = library.open(bundle).stream()
    found = stream.process(np.array([0.1, 2, 0.5, 0, 0.1, 0.1, 0.1, 0.1], np.float32))
    np.testing.assert_array_equal(found, np.float32([0.1, 0.5, 0.5, 0, 0.1, 0.1, 0.1, 0.1]))
    assert stream.stats().limited_calls == 1


def test_a_stream_says_when_it_was_flushed(library: Library, tmp_path: Path) -> None:
    stream = library.open(write_streaming_bundle(tmp_path / "bundle", Core(), STFT)).stream()
    assert len(stream.process(noise(1_000))) + len(stream.flush()) == 1_000
    for call in (stream.flush, lambda: stream.process(noise(10))):
        with pytest.raises(FrcrnError, match="FRCRN_STATE.*frcrn_stream_reset"):
            call()
    stream.reset()
    assert len(stream.process(noise(1_000))) + len(stream.flush()) == 1_000
