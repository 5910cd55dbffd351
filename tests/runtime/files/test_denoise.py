from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.writer import FileWriter
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import AudioError
from frcrn_export.runtime.files.denoise import denoise_file
from frcrn_export.runtime.files.jobs import Job
from tests.bundles import GainSession, core_entry, frcrn_segments, manifest
from tests.tones import write_tone


def halving(above: int = 1_000_000) -> Denoiser:
    described = manifest(level="peak", segments=frcrn_segments(above))
    return Denoiser(described, GainSession(core_entry(), gain=0.5))


@pytest.mark.parametrize("above", [0, 1_000_000])
@pytest.mark.parametrize(("rate", "subtype"), [(16_000, "PCM_16"), (48_000, "FLOAT")])
def test_files_are_denoised_alike(tmp_path: Path, above: int, rate: int, subtype: str) -> None:
    source = write_tone(tmp_path / "a.wav", 3 * rate, rate, subtype)
    shares: list[float] = []
    result = denoise_file(
        halving(above),
        Job(source, tmp_path / "out" / "b.wav"),
        progress=lambda job, share: shares.append(share),
    )
    info = soundfile.info(tmp_path / "out" / "b.wav")
    assert (info.samplerate, info.subtype, info.frames) == (rate, subtype, 3 * rate)
    before, _ = soundfile.read(source)
    after, _ = soundfile.read(tmp_path / "out" / "b.wav")
    inner = slice(rate // 4, -rate // 4)
    np.testing.assert_allclose(after[inner], 0.5 * before[inner], atol=1e-3)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert result.audio_seconds == 3.0
    assert result.real_time_factor == result.elapsed_seconds / 3.0
    assert list(tmp_path.rglob("*.partial")) == []


@pytest.mark.parametrize("above", [0, 1_000_000])
def test_an_error_leaves_no_half_of_a_file(tmp_path: Path, above: int) -> None:
    bad = write_tone(tmp_path / "b.wav", 40_000, subtype="FLOAT")
    samples, rate = soundfile.read(bad)
    samples[30_000] = np.nan
    soundfile.write(bad, samples, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match="sample 30000"):
        denoise_file(halving(above), Job(bad, tmp_path / "out" / "b.wav"))
    assert list(tmp_path.rglob("*.partial")) == []
    assert not (tmp_path / "out" / "b.wav").exists()


def test_a_core_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    class Failing(GainSession):
        def run(self, inputs: np.ndarray) -> np.ndarray:
            if len(self.shapes) == 2:
                raise RuntimeError("out of memory")
            return super().run(inputs)

    source = write_tone(tmp_path / "a.wav", 100_000)
    denoiser = Denoiser(manifest(segments=frcrn_segments(0)), Failing(core_entry()))
    with pytest.raises(RuntimeError, match="out of memory"):
        denoise_file(denoiser, Job(source, tmp_path / "out" / "b.wav"))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupt_while_the_output_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*given: object, **options: object) -> object:
        make_file(*given, **options)
        raise KeyboardInterrupt

    source, make_file = write_tone(tmp_path / "a.wav"), FileWriter._create
    monkeypatch.setattr(FileWriter, "_create", make)
    with pytest.raises(KeyboardInterrupt):
        denoise_file(halving(), Job(source, tmp_path / "out" / "a.wav"))
    assert list((tmp_path / "out").iterdir()) == []
