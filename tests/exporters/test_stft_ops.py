from typing import get_args

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frcrn_export.exporters.graphs import post_graph, pre_graph
from frcrn_export.exporters.onnx_export import onnx_from_graph
from frcrn_export.exporters.registry import models
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.audio.framing import padding_samples, whole_hops
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import StftSpec, Window

PUBLISHED = [spec for model in ("frcrn-16k", "frcrn-16k-512") if (spec := models()[model].stft)]
OTHERS = [
    StftSpec(window_length=512, hop_length=256, fft_length=512, window="hann", center=True),
    StftSpec(
        window_length=400, hop_length=160, fft_length=512, window="hamming", center=True,
        pad_mode="zeros",
    ),
    StftSpec(
        window_length=480, hop_length=120, fft_length=480, window="hann",
        synthesis_window="hamming", center=True,
    ),
]  # fmt: skip
SPECS = [*PUBLISHED, *OTHERS]
by_spec = pytest.mark.parametrize(
    "spec", SPECS, ids=lambda spec: f"{spec.window}-{spec.fft_length}"
)


def run(module: nn.Module, value: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(value)))


def speech_like(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32) * np.float32(0.1)


@by_spec
@pytest.mark.parametrize("samples", [640, 1_003, 5_120])
def test_analysis_is_that_of_the_runtime(spec: StftSpec, samples: int) -> None:
    wave = speech_like(2, samples)
    np.testing.assert_allclose(
        run(StftAnalysis(spec), wave), Stft(spec).analysis(wave), atol=1e-5, rtol=0
    )


@by_spec
@pytest.mark.parametrize("frames", [2, 3, 17])
def test_synthesis_is_that_of_the_runtime(spec: StftSpec, frames: int) -> None:
    # Not the spectrum of any signal, as a network's output is not either.
    spectrum = speech_like(2, 2, spec.bins, frames)
    edge = 0 if spec.center else spec.hop_length // 8  # which divides by almost zero
    inner = slice(edge, spec.samples(frames) - edge)
    ours, theirs = run(StftSynthesis(spec), spectrum), Stft(spec).synthesis(spectrum)
    assert ours.shape == theirs.shape == (2, spec.samples(frames))
    np.testing.assert_allclose(ours[:, inner], theirs[:, inner], atol=1e-5, rtol=0)


@by_spec
def test_synthesis_undoes_analysis_inside(spec: StftSpec) -> None:
    wave = speech_like(1, spec.samples(9))
    back = run(StftSynthesis(spec), run(StftAnalysis(spec), wave))
    inner = slice(spec.hop_length, -spec.hop_length)
    np.testing.assert_allclose(back[:, inner], wave[:, inner], atol=1e-5)


@by_spec
@pytest.mark.parametrize("frames", [2, 12])
def test_the_exported_synthesis_is_finite_to_its_very_edges(spec: StftSpec, frames: int) -> None:
    # There the window is zero, and only the published 1e-8 keeps the division defined.
    model = onnx_from_graph(post_graph(spec), "post", {})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    spectrum = speech_like(1, 2, spec.bins, frames)
    (wave,) = session.run(None, {"enhanced": spectrum})
    np.testing.assert_allclose(wave, run(StftSynthesis(spec), spectrum), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("spec", OTHERS, ids=lambda spec: f"{spec.window}-{spec.fft_length}")
def test_the_exported_analysis_takes_any_length(spec: StftSpec) -> None:
    session = onnxruntime.InferenceSession(
        onnx_from_graph(pre_graph(spec), "pre", {}).SerializeToString()
    )
    for batch, samples in ((1, spec.window_length), (3, 4_321), (2, 260)):
        wave = speech_like(batch, samples)
        (spectrum,) = session.run(None, {"wave": wave})
        np.testing.assert_allclose(spectrum, Stft(spec).analysis(wave), atol=1e-5, rtol=0)


@st.composite
def specs(draw: st.DrawFn) -> StftSpec:
    """Transforms of any windows, whose frames overlap so far that nothing is divided by zero."""
    quarter = draw(st.integers(2, 40))
    window = 4 * quarter
    return StftSpec(
        window_length=window,
        hop_length=draw(st.integers(1, 2 * quarter)),
        fft_length=window + 2 * draw(st.integers(0, 16)),
        window=draw(st.sampled_from(get_args(Window))),
        synthesis_window=draw(st.sampled_from((None, *get_args(Window)))),
        center=draw(st.booleans()),
        pad_mode=draw(st.sampled_from(("reflect", "zeros"))),
    )


@given(spec=specs(), samples=st.integers(1, 700))
@settings(deadline=None)
def test_torch_and_numpy_agree_on_any_transform(spec: StftSpec, samples: int) -> None:
    padded = samples + padding_samples(samples, whole_hops(spec))
    wave = np.pad(speech_like(1, samples), ((0, 0), (0, padded - samples)))
    spectrum = run(StftAnalysis(spec), wave)
    np.testing.assert_allclose(spectrum, Stft(spec).analysis(wave), atol=1e-5, rtol=0)
    assert spectrum.shape == (1, 2, spec.bins, spec.frames(padded))
    back = run(StftSynthesis(spec), spectrum)
    assert back.shape == (1, spec.samples(spec.frames(padded))) == (1, padded)
    # Without centring the edges are divided by almost nothing.
    edge = 0 if spec.center else spec.window_length // 4
    inner = slice(edge, padded - edge)
    np.testing.assert_allclose(
        back[:, inner], Stft(spec).synthesis(spectrum)[:, inner], atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(back[:, inner], wave[:, inner], atol=1e-5, rtol=0)


@given(spec=specs(), samples=st.integers(1, 700))
@settings(deadline=None)
def test_centred_transforms_are_those_of_torch(spec: StftSpec, samples: int) -> None:
    spec = msgspec.structs.replace(spec, center=True, synthesis_window=None)
    padded = samples + padding_samples(samples, whole_hops(spec))
    padded = max(padded, spec.fft_length // 2 + 1)  # torch mirrors half the FFT, not the window
    wave = torch.from_numpy(speech_like(1, padded))
    kind = torch.hamming_window if spec.window == "hamming" else torch.hann_window
    window = kind(spec.window_length).sqrt() if spec.window == "sqrt_hann" else kind(
        spec.window_length
    )  # fmt: skip
    lengths = (spec.fft_length, spec.hop_length, spec.window_length)
    theirs = torch.stft(
        wave, *lengths, window, center=True, return_complex=True,
        pad_mode="reflect" if spec.pad_mode == "reflect" else "constant",
    )  # fmt: skip
    ours = run(StftAnalysis(spec), wave.numpy())
    np.testing.assert_allclose(ours, torch.stack((theirs.real, theirs.imag), 1), atol=1e-5, rtol=0)
    # A spectrum that no signal has, so that the inverse is seen too.
    theirs = theirs * torch.linspace(0.1, 2, spec.bins)[None, :, None]
    expected = torch.istft(theirs, *lengths, window, center=True)
    back = Stft(spec).synthesis(torch.stack((theirs.real, theirs.imag), 1).numpy())
    np.testing.assert_allclose(back, expected, atol=1e-5, rtol=0)
