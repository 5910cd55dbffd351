from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.calibration.quality.evaluation import Choice, open_subjects
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError, BundleError, UserError
from tests.bundles import manifest, write_bundle
from tests.calibration.conftest import Signal
from tests.calibration.quality.bundles import write_precisions
from tests.streaming_bundles import Core, write_streaming_bundle


def test_a_bundle_as_denoise_opens_it(tmp_path: Path, noisy: Signal) -> None:
    bundle = write_bundle(tmp_path / "a", manifest(level="peak"), gain=0.5)
    (subject,) = open_subjects([Choice(bundle)])
    assert subject.label == str(bundle)
    np.testing.assert_array_equal(subject.denoise(noisy), Denoiser.open(bundle)(noisy))


def test_several_are_told_apart(tmp_path: Path) -> None:
    bundle = write_precisions(tmp_path / "a")
    choices = [Choice(bundle, "onnxruntime-cpu", precision) for precision in ("fp32", "fp16")]
    one, two = open_subjects(choices)
    assert (one.label, two.label) == (f"{bundle} fp32", f"{bundle} fp16")
    assert isinstance(one.denoiser, Denoiser)
    assert isinstance(two.denoiser, Denoiser)
    assert (one.precision, two.precision) == ("fp32", "fp16")
    assert one.denoiser.session.entry.path == "core.onnx"
    assert two.denoiser.session.entry.path == "core.fp16.onnx"
    one, two = open_subjects([Choice(bundle), Choice(bundle, "onnxruntime-cpu")])
    assert (one.label, two.label) == (f"{bundle} auto", f"{bundle} onnxruntime-cpu")


def test_streams(tmp_path: Path, noisy: Signal) -> None:
    bundle = write_streaming_bundle(tmp_path / "a", Core(lookahead=1))
    for precision in (None, "fp32"):
        (subject,) = open_subjects([Choice(bundle, precision=precision, stream=True)])
        # At the very start one window alone covers a sample, and hardly.
        np.testing.assert_allclose(subject.denoise(noisy)[5:], noisy[5:], atol=1e-4)
    offline = write_bundle(tmp_path / "b")
    (subject,) = open_subjects([Choice(offline, stream=True, windowed=True)])
    np.testing.assert_allclose(subject.denoise(noisy), noisy, atol=1e-6)
    assert subject.precision == "fp32"
    with pytest.raises(BundleError, match="no streaming core"):
        open_subjects([Choice(offline, stream=True)])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(Path("a"), precision="fp16"), "no fp16 file .* for onnxruntime; run: .* --fp16"),
        (
            Choice(Path("a"), precision="fp16", stream=True),
            "no streaming fp16 file .* --fp16 --streaming",
        ),
        (Choice(Path("a"), "torchscript", "fp32"), "no fp32 file .* run: frcrn-export torchscript"),
        (Choice(Path("a"), "torchscript", "fp16"), "torchscript runs in fp32 and offline; take --"),
        (Choice(Path("a"), "tensorrt-rtx", precision="fp16"), r"trt \S+ --fp16 --flavor tensorrt-"),
        (Choice(Path("a"), "onnxruntme", precision="fp32"), "did you mean onnxruntime"),
        (Choice(Path("a"), "onnxruntme"), "did you mean onnxruntime"),
    ],
)
def test_what_the_bundle_has_not(tmp_path: Path, choice: Choice, message: str) -> None:
    bundle = write_bundle(tmp_path / "a")
    with pytest.raises(BackendError, match=message):
        open_subjects([Choice(bundle, choice.backend, choice.precision, choice.stream)])


def test_bundles_of_different_rates(tmp_path: Path) -> None:
    one = write_bundle(tmp_path / "a")
    two = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest(), sample_rate=48_000))
    with pytest.raises(UserError, match=r"a takes 16000 Hz and \S+b 48000; evaluate them one by"):
        open_subjects([Choice(one), Choice(two)])
