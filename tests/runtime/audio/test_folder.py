from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.folder import Job, denoise_files, plan_jobs
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import AudioError, UserError
from tests.bundles import GainSession, core_entry, frcrn_segments, manifest


def write(path: Path, frames: int = 100, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(np.arange(frames) * 0.1)
    soundfile.write(path, tone, rate, subtype=None if path.suffix == ".ogg" else subtype)
    return path


def halving(above: int = 1_000_000) -> Denoiser:
    described = manifest(level="peak", segments=frcrn_segments(above))
    return Denoiser(described, GainSession(core_entry(), gain=0.5))


def targets(jobs: list[Job], root: Path) -> list[str]:
    return [str(job.target.relative_to(root)) for job in jobs]


def test_one_file_goes_to_the_output_itself(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav")
    assert plan_jobs([source], tmp_path / "new" / "b.flac") == [
        Job(source, tmp_path / "new" / "b.flac")
    ]


def test_one_file_goes_into_a_folder(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav")
    (tmp_path / "v1.0").mkdir()
    for folder in ("v1.0", "new"):
        assert targets(plan_jobs([source], tmp_path / folder), tmp_path) == [f"{folder}/a.wav"]


def test_folders_keep_their_structure(tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/deep/er/b.FLAC", "in/c.ogg", "more/d.wav"):
        write(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    jobs = plan_jobs([tmp_path / "in", tmp_path / "more" / "d.wav"], tmp_path / "out.d", plot=True)
    assert targets(jobs, tmp_path) == [
        "out.d/a.wav",
        "out.d/c.ogg",
        "out.d/deep/er/b.FLAC",
        "out.d/d.wav",
    ]
    assert jobs[2].plot == tmp_path / "out.d" / "deep" / "er" / "b.png"


def test_outputs_within_the_input_folder_are_not_inputs(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "clean" / "a.wav")
    jobs = plan_jobs([tmp_path], tmp_path / "clean", force=True)
    assert targets(jobs, tmp_path) == ["clean/a.wav"]


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.wav"), write(tmp_path / "x" / "a.wav")
    existing = write(tmp_path / "old.wav")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "a.wav").mkdir(parents=True)
    out = tmp_path / "out"
    cases: list[tuple[list[Path], Path, str]] = [
        ([tmp_path / "no.wav"], out, "no.wav: no such file"),
        ([tmp_path / "empty"], out, "no audio in this folder"),
        ([a, b], out, "two inputs would be written here"),
        ([a, b], tmp_path / "b.wav", "several inputs need a folder"),
        ([tmp_path / "x"], tmp_path / "b.wav", "several inputs need a folder"),
        ([a, existing], existing, "several inputs need a folder"),
        ([a], existing, "--force"),
        ([a], a, "is an input"),
        ([a], tmp_path, "is an input"),
        ([a], tmp_path / "full", "is a folder"),
    ]
    for inputs, output, said in cases:
        with pytest.raises(UserError) as caught:
            plan_jobs(inputs, output)
        assert said in str(caught.value)
    assert plan_jobs([a], existing, force=True) == [Job(a, existing)]
    for inputs, output in (([a], a), ([a], tmp_path / "x" / ".." / "a.wav")):
        with pytest.raises(UserError, match="is an input"):
            plan_jobs(inputs, output, force=True)


def test_an_input_is_not_written_through_a_link(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav")
    (tmp_path / "link.wav").symlink_to(source)
    with pytest.raises(UserError, match="is an input"):
        plan_jobs([source], tmp_path / "link.wav", force=True)


def test_a_picture_that_exists_needs_force_too(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.png: exists already"):
        plan_jobs([source], tmp_path / "b.wav", plot=True)


@pytest.mark.parametrize("above", [0, 1_000_000])
@pytest.mark.parametrize(("rate", "subtype"), [(16_000, "PCM_16"), (48_000, "FLOAT")])
def test_files_are_denoised_alike(tmp_path: Path, above: int, rate: int, subtype: str) -> None:
    source = write(tmp_path / "a.wav", 3 * rate, rate, subtype)
    shares: list[float] = []
    (result,) = denoise_files(
        halving(above),
        [Job(source, tmp_path / "out" / "b.wav")],
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
def test_an_error_stops_at_its_file_and_leaves_no_half_of_it(tmp_path: Path, above: int) -> None:
    good = write(tmp_path / "in" / "a.wav", 40_000)
    bad = write(tmp_path / "in" / "b.wav", 40_000, subtype="FLOAT")
    samples, rate = soundfile.read(bad)
    samples[30_000] = np.nan
    soundfile.write(bad, samples, rate, subtype="FLOAT")
    write(tmp_path / "in" / "c.wav")
    results = denoise_files(halving(above), plan_jobs([tmp_path / "in"], tmp_path / "out"))
    assert next(results).job.source == good
    with pytest.raises(AudioError, match="sample 30000"):
        next(results)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_a_core_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    class Failing(GainSession):
        def run(self, inputs: np.ndarray) -> np.ndarray:
            if len(self.shapes) == 2:
                raise RuntimeError("out of memory")
            return super().run(inputs)

    source = write(tmp_path / "a.wav", 100_000)
    denoiser = Denoiser(manifest(segments=frcrn_segments(0)), Failing(core_entry()))
    with pytest.raises(RuntimeError, match="out of memory"):
        list(denoise_files(denoiser, [Job(source, tmp_path / "out" / "b.wav")]))
    assert list((tmp_path / "out").iterdir()) == []
