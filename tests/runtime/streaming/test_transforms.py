from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.framing import fit, padding_samples, whole_hops
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import Padding, StftSpec, StreamingInfo, Window
from frcrn_export.runtime.streaming.level import FixedLevel
from frcrn_export.runtime.streaming.stream import Stream
from frcrn_export.runtime.streaming.transforms import (
    SpectrumTransform,
    StreamingAnalysis,
    StreamingSynthesis,
)

SPECS = [
    StftSpec(window_length=640, hop_length=320, fft_length=640),
    StftSpec(window_length=320, hop_length=160, fft_length=512),
    StftSpec(window_length=400, hop_length=100, fft_length=512),
    StftSpec(window_length=400, hop_length=160, fft_length=400),
    StftSpec(window_length=256, hop_length=256, fft_length=256),
]


def streamed_analysis(spec: StftSpec, wave: np.ndarray, chunks: list[int]) -> np.ndarray:
    analysis = StreamingAnalysis(spec, len(wave))
    parts, start = [], 0
    for frames in chunks:
        samples = analysis.samples(frames)
        part = np.empty((len(wave), 2, spec.bins, frames), np.float32)
        analysis.analyse(wave[:, start : start + samples], part)
        parts.append(part)
        start += samples
    return np.concatenate(parts, axis=3)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 6], [12]])
def test_frames_are_those_of_the_whole_signal(spec: StftSpec, chunks: list[int]) -> None:
    wave = np.random.default_rng(0).standard_normal((3, spec.samples(12))).astype(np.float32)
    spectrum = streamed_analysis(spec, wave, chunks)
    np.testing.assert_array_equal(spectrum, Stft(spec).analysis(wave))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 6], [12]])
def test_samples_are_those_of_the_whole_spectrum(spec: StftSpec, chunks: list[int]) -> None:
    spectrum = np.random.default_rng(0).standard_normal((2, 2, spec.bins, 12)).astype(np.float32)
    synthesis = StreamingSynthesis(spec, 2)
    wave = np.empty((2, spec.samples(12)), np.float32)
    frame = 0
    for frames in chunks:
        start, stop = (index * spec.hop_length for index in (frame, frame + frames))
        synthesis.synthesise(spectrum[..., frame : frame + frames], wave[:, start:stop])
        frame += frames
    synthesis.tail(wave[:, 12 * spec.hop_length :])
    expected = Stft(spec).synthesis(spectrum)
    if spec.window_length <= 2 * spec.hop_length and spec.window_length % spec.hop_length == 0:
        np.testing.assert_array_equal(wave, expected)
    else:  # more than two frames are added up in another order
        np.testing.assert_allclose(wave, expected, rtol=1e-5, atol=1e-5)


def test_reset_forgets_everything() -> None:
    spec = SPECS[0]
    wave = np.random.default_rng(0).standard_normal((1, spec.samples(2))).astype(np.float32)
    analysis, synthesis = StreamingAnalysis(spec), StreamingSynthesis(spec)
    results = []
    for _ in range(2):
        frames = np.empty((1, 2, spec.bins, 2), np.float32)
        analysis.analyse(wave, frames)
        out = np.empty((1, 2 * spec.hop_length), np.float32)
        synthesis.synthesise(frames, out)
        results.append(out)
        analysis.reset()
        synthesis.reset()
    np.testing.assert_array_equal(*results)


def test_a_wrong_number_of_samples_is_an_error() -> None:
    analysis = StreamingAnalysis(SPECS[0])
    with pytest.raises(ValueError, match=r"2 frames take \[1, 960\] samples, got \[1, 640\]"):
        analysis.analyse(np.zeros((1, 640), np.float32), np.empty((1, 2, 321, 2), np.float32))


@st.composite
def specs(draw: st.DrawFn) -> StftSpec:
    """Transforms whose frames overlap so far that nothing is divided by zero."""
    quarter = draw(st.integers(2, 16))
    window = 4 * quarter
    return StftSpec(
        window_length=window,
        hop_length=draw(st.integers(1, 2 * quarter)),
        fft_length=window + 2 * draw(st.integers(0, 8)),
        window=draw(st.sampled_from(get_args(Window))),
        synthesis_window=draw(st.sampled_from((None, *get_args(Window)))),
        center=draw(st.booleans()),
        pad_mode=draw(st.sampled_from(("reflect", "zeros"))),
    )


def paddings(spec: StftSpec) -> st.SearchStrategy[Padding]:
    """Whole hops, or another rule that holds a frame."""
    sizes = st.integers(spec.shortest, spec.shortest + 60)
    others = st.builds(Padding, rule=st.sampled_from(("multiple", "windows")), size=sizes)
    return st.just(whole_hops(spec)) | others


class FilterCore:
    """A core that weighs the bins of each frame, `lookahead` frames late."""

    def __init__(self, spec: StftSpec, lookahead: int) -> None:
        self.weights = np.linspace(0.2, 1.5, spec.bins, dtype=np.float32)[:, None]
        self._late = np.zeros((2, spec.bins, lookahead), np.float32)

    def __call__(self, row: np.ndarray) -> np.ndarray:
        joined = np.concatenate((self._late, row * self.weights), axis=2)
        self._late = joined[..., row.shape[2] :]
        return joined[..., : row.shape[2]]


def streamed(stream: Stream, core: FilterCore, row: np.ndarray, parts: list) -> list[np.ndarray]:
    """What comes out after each part, and at the end."""

    def advance() -> np.ndarray:
        while stream.ready:
            stream.fill(row)
            stream.take(core(row))
        return stream.pull()

    out = []
    for part in parts:
        stream.push(part)
        out.append(advance())
    stream.finish()
    return [*out, advance()]


@given(data=st.data(), spec=specs(), chunk=st.integers(1, 3), lookahead=st.integers(0, 4))
@settings(deadline=None, max_examples=300)
def test_any_transform_streams_as_it_works_offline(
    data: st.DataObject, spec: StftSpec, chunk: int, lookahead: int
) -> None:
    """Any length, shorter than a window too, in parts of any lengths."""
    padding = data.draw(paddings(spec))
    lengths = data.draw(st.lists(st.integers(0, 90), max_size=6))
    wave = np.random.default_rng(sum(lengths)).standard_normal(sum(lengths)).astype(np.float32)
    info = StreamingInfo(chunk=chunk, lookahead=lookahead, states=())
    transform = SpectrumTransform(spec, info, padding)
    core, row = FilterCore(spec, lookahead), np.zeros((2, spec.bins, chunk), np.float32)
    parts = np.split(wave, np.cumsum(lengths)[:-1]) if lengths else []
    out = streamed(Stream(transform, FixedLevel(0.5), True), core, row, parts)

    given_samples = returned = 0
    for part, done in zip(parts, out, strict=False):  # never later than it says
        given_samples += len(part)
        returned += len(done)
        assert given_samples - returned < transform.latency.samples
    result = np.concatenate(out)
    assert len(result) == len(wave)
    if not len(wave):
        return
    stft = Stft(spec)
    padded = fit(wave[None], len(wave) + padding_samples(len(wave), padding))
    expected = fit(stft.synthesis(stft.analysis(padded) * core.weights), len(wave))[0]
    edge = 0 if spec.center else spec.window_length // 4  # divided by almost nothing
    tail = len(wave) if spec.center else min(len(wave), padded.shape[1] - edge)
    np.testing.assert_allclose(result[edge:tail], expected[edge:tail], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_a_centred_stream_is_no_later_than_its_window(mode: str) -> None:
    spec = StftSpec(
        window_length=512, hop_length=256, fft_length=512, window="hann", center=True,
        pad_mode=mode,  # type: ignore[arg-type]
    )  # fmt: skip
    info = StreamingInfo(chunk=1, lookahead=2, states=())
    latency = SpectrumTransform(spec, info, whole_hops(spec)).latency
    assert (latency.chunk, latency.lookahead) == (256, 512)
    assert latency.window == (257 if mode == "reflect" else 256)


@pytest.mark.parametrize("window", get_args(Window))
def test_reset_forgets_what_was_mirrored(window: Window) -> None:
    spec = StftSpec(window_length=16, hop_length=4, fft_length=16, window=window, center=True)
    info = StreamingInfo(chunk=1, lookahead=0, states=())
    stream = Stream(SpectrumTransform(spec, info, whole_hops(spec)), FixedLevel(1.0), True)
    row = np.zeros((2, spec.bins, 1), np.float32)
    wave = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    results = []
    for _ in range(2):
        results.append(np.concatenate(streamed(stream, FilterCore(spec, 0), row, [wave])))
        stream.reset()
    np.testing.assert_array_equal(*results)
