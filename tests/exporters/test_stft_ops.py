import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from frcrn_export.exporters.graphs import post_graph
from frcrn_export.exporters.onnx_export import export_onnx
from frcrn_export.exporters.registry import models
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import StftSpec

SPECS = [spec for model in ("frcrn-16k", "frcrn-16k-512") if (spec := models()[model].stft)]
pytestmark = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.fft_length))


def run(module: nn.Module, value: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(value)))


def speech_like(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32) * np.float32(0.1)


@pytest.mark.parametrize("samples", [640, 1_003, 5_120])
def test_analysis_is_that_of_the_runtime(spec: StftSpec, samples: int) -> None:
    wave = speech_like(2, samples)
    np.testing.assert_allclose(
        run(StftAnalysis(spec), wave), Stft(spec).analysis(wave), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("frames", [1, 2, 17])
def test_synthesis_is_that_of_the_runtime(spec: StftSpec, frames: int) -> None:
    # Not the spectrum of any signal, as a network's output is not either.
    spectrum = speech_like(2, 2, spec.bins, frames)
    inner = slice(spec.hop_length // 8, -(spec.hop_length // 8))  # the edges divide by almost zero
    ours, theirs = run(StftSynthesis(spec), spectrum), Stft(spec).synthesis(spectrum)
    assert ours.shape == theirs.shape == (2, spec.samples(frames))
    np.testing.assert_allclose(ours[:, inner], theirs[:, inner], atol=1e-5, rtol=0)


def test_synthesis_undoes_analysis_inside(spec: StftSpec) -> None:
    wave = speech_like(1, spec.samples(9))
    back = run(StftSynthesis(spec), run(StftAnalysis(spec), wave))
    inner = slice(spec.hop_length, -spec.hop_length)
    np.testing.assert_allclose(back[:, inner], wave[:, inner], atol=1e-5)


@pytest.mark.parametrize("frames", [1, 12])
def test_the_exported_synthesis_is_finite_to_its_very_edges(spec: StftSpec, frames: int) -> None:
    # There the window is zero, and only the published 1e-8 keeps the division defined.
    model = export_onnx(post_graph(spec), "post", {})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    spectrum = speech_like(1, 2, spec.bins, frames)
    (wave,) = session.run(None, {"enhanced": spectrum})
    np.testing.assert_allclose(wave, run(StftSynthesis(spec), spectrum), atol=1e-3, rtol=1e-5)
