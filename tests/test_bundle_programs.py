"""The programs of docs/bundle_programs.md against the runtime."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from frcrn_export.exporters.assets import DEMO_NOISY
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import Padding, StftSpec
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.bundles import FRCRN_PADDING, STFT, manifest, write_bundle

PAGE = (Path(__file__).parents[1] / "docs" / "bundle_programs.md").read_text()
PROGRAMS = dict(re.findall(r"^```python\n# ([a-z ]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A little over a second, with an offset and a pause."""
    samples, rate = soundfile.read(DEMO_NOISY, frames=20_001)
    samples[9_000:12_000] = 0
    soundfile.write(tmp_path / "noisy.wav", samples + 0.01, rate, "FLOAT")
    return tmp_path / "noisy.wav"


def run(
    names: tuple[str, ...], bundle: Path, noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The variables of programs that run one after another."""
    monkeypatch.setattr(
        sys, "argv", ["p", str(bundle), str(noisy), str(noisy.parent / "clean.wav")]
    )
    variables: dict[str, Any] = {}
    for name in names:
        exec(compile(PROGRAMS[name], f"{name} of docs/bundle_programs.md", "exec"), variables)
    return variables


def test_every_program_is_run_here() -> None:
    assert set(PROGRAMS) == {"waveform", "waveform stream", "spectrum"}


def test_waveforms_offline_and_as_a_stream(
    small_wave_bundle: Bundle, noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, rate = soundfile.read(noisy, dtype="float32")
    made = run(("waveform", "waveform stream"), small_wave_bundle.path, noisy, monkeypatch)
    clean, _ = soundfile.read(noisy.parent / "clean.wav", dtype="float32")
    expected = Denoiser.open(small_wave_bundle)(given, rate)
    assert snr_db(expected, clean) > 110
    np.testing.assert_allclose(clean, expected, atol=1e-6)
    stream = StreamingDenoiser.open(small_wave_bundle)
    streamed = np.concatenate([stream.process(given), stream.flush()])
    np.testing.assert_allclose(made["streamed"], streamed, atol=1e-6)
    assert not np.allclose(streamed, given, atol=1e-3)


@pytest.mark.parametrize("samples", [1_000, 16_000, 20_001])
@pytest.mark.parametrize(
    ("stft", "padding"),
    [
        (STFT, FRCRN_PADDING),
        (StftSpec(window_length=320, hop_length=160, fft_length=512), FRCRN_PADDING),
        (
            StftSpec(
                window_length=400,
                hop_length=100,
                fft_length=512,
                window="hamming",
                synthesis_window="hann",
            ),
            Padding(rule="hops", size=400, stride=100),
        ),
        (STFT, Padding(rule="multiple", size=640)),
    ],
)
def test_spectra(
    stft: StftSpec, padding: Padding, samples: int, noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, rate = soundfile.read(noisy, dtype="float32", frames=samples)
    soundfile.write(noisy, given, rate, "FLOAT")
    described = manifest(stft=stft, level="active_rms", padding=padding)
    bundle = write_bundle(noisy.parent / "bundle", described, gain=0.5)
    run(("spectrum",), bundle, noisy, monkeypatch)
    clean, _ = soundfile.read(noisy.parent / "clean.wav", dtype="float32")
    expected = Denoiser.open(bundle)(given, rate)
    # At the ends, where a window is next to 0, both round: hence no limit for single samples.
    assert snr_db(expected, clean) > 90
