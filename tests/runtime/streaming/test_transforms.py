"""None"""

import numpy as np
import pytest

from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import StftSpec
from frcrn_export.runtime.streaming.transforms import StreamingAnalysis, StreamingSynthesis

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
