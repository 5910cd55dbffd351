import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.folder import Job, denoise_files, find_audio, plan_jobs
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


def names(folder: Path, **how: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_audio(folder, **how).files]


def test_everything_that_libsndfile_reads_is_taken(tmp_path: Path) -> None:
    for format, suffixes in {
        "AIFF": (".aiff", ".aifc", ".AIF"), "AU": (".au", ".snd"), "CAF": (".caf",),
        "FLAC": (".flac",), "MP3": (".mp3",), "NIST": (".sph",), "OGG": (".ogg", ".oga"),
        "RF64": (".rf64",), "VOC": (".voc",), "W64": (".w64",), "WAV": (".wav", ".WAV"),
    }.items():  # fmt: skip
        for suffix in suffixes:
            soundfile.write(tmp_path / f"{format}{suffix}", np.zeros(99), 16_000, format=format)
    assert len(names(tmp_path)) == 16
    for path in find_audio(tmp_path).files:
        assert soundfile.info(path).samplerate == 16_000


def test_what_is_left_out_is_said_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "sub" / "b.wav")
    for name in ("c.m4a", "d.M4A", "e.wma", "._a.wav", "notes.txt", "cover.png", "data.mat"):
        (tmp_path / name).write_bytes(b"something")
    write(tmp_path / ".trash" / "f.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == ["a.wav", "sub/b.wav"]
    (line,) = caplog.messages
    for part in ("2 .m4a files", "1 .wma files", "1 hidden files", "1 hidden folders"):
        assert part in line
    assert "libsndfile does not read" in line
    assert "1 links or devices without a file" in line
    assert "txt" not in line


def test_a_folder_of_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"something")
    with pytest.raises(UserError, match=r"no audio in this folder but 1 \.m4a files.*convert"):
        plan_jobs([tmp_path], tmp_path / "out")


def test_linked_folders_are_followed_once_and_without_loops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "speech"
    write(folder / "a" / "1.wav")
    write(tmp_path / "elsewhere" / "2.wav")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "0_again").symlink_to(folder / "a")
    assert names(folder) == ["a/1.wav", "linked/2.wav"]
    assert "2 linked folders that are looked through already" in caplog.messages[0]


def test_links_to_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "linked.wav").symlink_to(write(tmp_path / "elsewhere" / "a.wav"))
    assert names(tmp_path) == ["elsewhere/a.wav", "linked.wav"]


def test_one_rule_for_all_commands(tmp_path: Path) -> None:
    """`denoise`, `train`, `calibrate` and `evaluate` take the same files of a folder."""
    from frcrn_export.calibration.clips import choose_clips
    from frcrn_export.calibration.quality.pairs import match_folders
    from frcrn_export.exporters.training import data

    folder, rng = tmp_path / "audio", np.random.default_rng(0)
    for name in ("1.w64", "sub/2.au", "3.caf", ".hidden/4.wav", "._1.wav"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(32_000), 16_000)
    outside = write(tmp_path / "outside" / "5.wav", 32_000)
    (folder / "linked").symlink_to(outside.parent)
    taken = {"1.w64", "sub/2.au", "3.caf", "linked/5.wav"}

    def relative(paths: Iterable[Path]) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in paths}

    assert relative(job.source for job in plan_jobs([folder], tmp_path / "out")) == taken
    assert relative(clip.path for clip in choose_clips([folder], 16_000).clips) == taken
    assert relative(pair.noisy for pair in match_folders(folder, folder)) == taken
    assert len(data.load_folder(folder)) == len(taken)
