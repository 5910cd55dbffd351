from pathlib import Path

import pytest

from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.files.jobs import Job, Plan, plan_jobs
from tests.tones import write_tone


def targets(plan: Plan, root: Path) -> list[str]:
    return [str(job.target.relative_to(root)) for job in plan.jobs]


def test_one_file_goes_to_the_output_itself(tmp_path: Path) -> None:
    source = write_tone(tmp_path / "a.wav")
    assert plan_jobs([source], tmp_path / "new" / "b.flac").jobs == (
        Job(source, tmp_path / "new" / "b.flac"),
    )


def test_one_file_goes_into_a_folder(tmp_path: Path) -> None:
    source = write_tone(tmp_path / "a.wav")
    (tmp_path / "v1.0").mkdir()
    for folder in ("v1.0", "new"):
        assert targets(plan_jobs([source], tmp_path / folder), tmp_path) == [f"{folder}/a.wav"]


def test_folders_keep_their_structure(tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/deep/er/b.FLAC", "in/c.ogg", "more/d.wav"):
        write_tone(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    plan = plan_jobs([tmp_path / "in", tmp_path / "more" / "d.wav"], tmp_path / "out.d", plot=True)
    assert targets(plan, tmp_path) == [
        "out.d/a.wav",
        "out.d/c.ogg",
        "out.d/deep/er/b.FLAC",
        "out.d/d.wav",
    ]
    assert plan.jobs[2].plot == tmp_path / "out.d" / "deep" / "er" / "b.png"


def test_outputs_within_the_input_folder_are_not_inputs(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    write_tone(tmp_path / "clean" / "a.wav")
    plan = plan_jobs([tmp_path], tmp_path / "clean", existing="replace")
    assert targets(plan, tmp_path) == ["clean/a.wav"]


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    a, b = write_tone(tmp_path / "a.wav"), write_tone(tmp_path / "x" / "a.wav")
    existing = write_tone(tmp_path / "old.wav")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "a.wav").mkdir(parents=True)
    out = tmp_path / "out"
    cases: list[tuple[list[Path], Path, str]] = [
        ([tmp_path / "no.wav"], out, "no.wav: no such file"),
        ([tmp_path / "empty"], out, "no audio in this folder"),
        ([a, b], out, "would both be written here"),
        ([a, b], tmp_path / "b.wav", "several inputs need a folder"),
        ([tmp_path / "x"], tmp_path / "b.wav", "several inputs need a folder"),
        ([a, existing], existing, "several inputs need a folder"),
        ([a], existing, "--force"),
        ([a], a, "is an input"),
        ([a], tmp_path, "is an input"),
        ([a], tmp_path / "full", "is a folder"),
        ([tmp_path / "full"], tmp_path / "full", "is an input"),
    ]
    for inputs, output, said in cases:
        with pytest.raises(UserError) as caught:
            plan_jobs(inputs, output)
        assert said in str(caught.value)
    assert plan_jobs([a], existing, existing="replace").jobs == (Job(a, existing),)
    for inputs, output in (([a], a), ([a], tmp_path / "x" / ".." / "a.wav")):
        with pytest.raises(UserError, match="is an input"):
            plan_jobs(inputs, output, existing="replace")


def test_names_that_the_system_refuses(tmp_path: Path) -> None:
    source, long = write_tone(tmp_path / "a.wav"), tmp_path / ("x" * 300 + ".wav")
    (tmp_path / "circle.wav").symlink_to("circle.wav")
    for path in (long, tmp_path / "circle.wav"):
        with pytest.raises(UserError, match="cannot be opened"):
            plan_jobs([path], tmp_path / "out")
    with pytest.raises(UserError, match="File name too long"):
        plan_jobs([source], long)
    with pytest.raises(UserError, match="no such file"):
        plan_jobs([source / "b.wav"], tmp_path / "out")


def test_an_input_is_not_written_through_a_link(tmp_path: Path) -> None:
    source = write_tone(tmp_path / "a.wav")
    (tmp_path / "link.wav").symlink_to(source)
    with pytest.raises(UserError, match="is an input"):
        plan_jobs([source], tmp_path / "link.wav", existing="replace")


def test_a_picture_that_exists_needs_force_too(tmp_path: Path) -> None:
    source = write_tone(tmp_path / "a.wav")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.png: exists already"):
        plan_jobs([source], tmp_path / "b.wav", plot=True)


def test_a_folder_of_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"something")
    with pytest.raises(UserError, match=r"no audio in this folder but 1 \.m4a files.*convert"):
        plan_jobs([tmp_path], tmp_path / "out")
