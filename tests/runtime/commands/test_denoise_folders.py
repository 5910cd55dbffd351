"""`frcrn-export denoise` over folders: failures, reruns, kills, and what it says of them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from frcrn_export.runtime.commands.denoise import denoise
from frcrn_export.runtime.errors import UserError
from tests.bundles import manifest, write_bundle
from tests.tones import write_tone

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", manifest(level="peak"), gain=0.5)


def call(*args: object) -> Result:
    return CliRunner().invoke(denoise, [str(arg) for arg in args], catch_exceptions=True)


def bad_tree(folder: Path) -> dict[str, str]:
    """Four good files and one bad file of each kind; what is said of each of these."""
    for name in ("a.wav", "sub/b.flac", "sub/c d.wav", "z.ogg"):
        write_tone(folder / name, 2_000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not audio at all")
    (folder / "sub" / "noise.flac").write_bytes(np.random.default_rng(0).bytes(5_000))
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(folder / "many.wav", np.zeros((10, 100)), 16_000)
    return {
        "empty.wav": "zero length",
        "text.wav": "cannot be read as audio",
        "sub/noise.flac": "cannot be read as audio",
        "no_samples.wav": "no samples",
        "nan.wav": "NaN",
        "many.wav": "100 channels",
    }


def test_bad_files_are_named_at_the_end(bundle: Path, tmp_path: Path) -> None:
    bad = bad_tree(tmp_path / "in")
    (tmp_path / "in" / "._a.wav").write_bytes(b"\0\5\x16\7")
    (tmp_path / "in" / "song.m4a").write_bytes(b"x")
    result = call(bundle, tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == len(bad)
    for name, said in bad.items():
        assert any(f"{tmp_path}/in/{name}: " in line and said in line for line in lines), name
    last = result.stdout.splitlines()[-1]
    assert last.startswith("4 done, 6 failed, 2 left out; 0.5 s of audio in ")
    written = {path.relative_to(tmp_path / "out").as_posix() for path in files(tmp_path / "out")}
    assert written == {"a.wav", "sub/b.flac", "sub/c d.wav", "z.ogg"}


def test_json_names_every_file(bundle: Path, tmp_path: Path) -> None:
    bad = bad_tree(tmp_path / "in")
    (tmp_path / "in" / "._a.wav").write_bytes(b"\0\5\x16\7")
    write_tone(tmp_path / "out" / "a.wav", 2_000)
    command = (bundle, tmp_path / "in", "-o", tmp_path / "out", "--json", "--skip-existing")
    result = call(*command)
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["counts"] == {
        "done": 3, "skipped": 1, "failed": 6, "not_reached": 0, "left_out": 1
    }  # fmt: skip
    assert report["left_out"] == {"hidden files": 1}
    assert report["error"] is None
    status = {Path(file["input"]).name: file["status"] for file in report["files"]}
    assert [file["input"] for file in report["files"]] == sorted(
        file["input"] for file in report["files"]
    )
    assert status.pop("a.wav") == "skipped"
    for file in report["files"]:
        name = Path(file["input"]).relative_to(tmp_path / "in").as_posix()
        assert file["status"] == ("failed" if name in bad else status.get(name, file["status"]))
        assert (bad.get(name, "") in file["error"]) if name in bad else file["error"] is None
    for name in bad:
        (tmp_path / "in" / name).unlink()
    again = call(*command)
    assert again.exit_code == 0
    assert json.loads(again.stdout)["counts"]["skipped"] == 4


def test_a_single_bad_file_is_the_users_input(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    result = call(bundle, tmp_path / "bad.wav", "-o", tmp_path / "out.wav", "--json")
    assert isinstance(result.exception, UserError)
    assert result.exception.exit_code == 2
    report = json.loads(result.stdout)
    assert report["files"][0]["status"] == "failed"
    assert report["error"] == report["files"][0]["error"] == str(result.exception)
    assert result.stderr == ""


def test_what_exists_is_refused_skipped_or_replaced(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_tone(tmp_path / "in" / name, 2_000)
    out = tmp_path / "out"
    complete = write_tone(out / "a.wav", 500).read_bytes()
    (out / "b.wav").write_bytes(complete[:300])
    refused = call(bundle, tmp_path / "in", "-o", out)
    assert "--skip-existing" in str(refused.exception)
    assert "--force" in str(refused.exception)
    assert call(bundle, tmp_path / "in", "-o", out, "--skip-existing").exit_code == 0
    assert (out / "a.wav").read_bytes() == complete
    assert soundfile.info(out / "b.wav").frames == soundfile.info(out / "c.wav").frames == 2_000
    both = call(bundle, tmp_path / "in", "-o", out, "--skip-existing", "--force")
    assert both.exit_code == 2
    assert "give one" in both.stderr
    assert call(bundle, tmp_path / "in", "-o", out, "--force").exit_code == 0
    assert soundfile.info(out / "a.wav").frames == 2_000


def test_outputs_of_every_format_are_complete(bundle: Path, tmp_path: Path) -> None:
    suffixes = [".aiff", ".au", ".caf", ".flac", ".mp3", ".ogg", ".opus", ".rf64", ".w64", ".wav"]
    for suffix in suffixes:
        how = {"subtype": "OPUS", "format": "OGG"} if suffix == ".opus" else {}
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / f"a{suffix}", np.full(20_000, 0.1), 16_000, **how)
    command = (bundle, tmp_path / "in", "-o", tmp_path / "out", "--skip-existing", "--json")
    assert json.loads(call(*command).stdout)["counts"]["done"] == len(suffixes)
    assert json.loads(call(*command).stdout)["counts"]["skipped"] == len(suffixes)


def test_pictures_need_matplotlib_before_any_work(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_tone(tmp_path / "in" / "a.wav")
    result = call(bundle, tmp_path / "in", "-o", tmp_path / "out", "--plot")
    assert isinstance(result.exception, UserError)
    assert "frcrn-export[plot]" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_drawn(bundle: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "in" / "a.wav", 2_000)
    command = (bundle, tmp_path / "in", "-o", tmp_path / "out", "--plot", "--skip-existing")
    assert call(*command).exit_code == 0
    (tmp_path / "out" / "a.png").unlink()
    assert call(*command).exit_code == 0
    assert (tmp_path / "out" / "a.png").exists()
    assert json.loads(call(*command, "--json").stdout)["counts"]["skipped"] == 1


def test_two_inputs_with_one_output_are_refused(bundle: Path, tmp_path: Path) -> None:
    for name in ("one/a.wav", "two/a.wav"):
        write_tone(tmp_path / name)
    result = call(bundle, tmp_path / "one", tmp_path / "two", "-o", tmp_path / "out")
    assert isinstance(result.exception, UserError)
    assert f"{tmp_path}/one/a.wav and {tmp_path}/two/a.wav" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "in" / "a.wav")
    (tmp_path / "file").write_text("")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    outputs = [tmp_path / "file" / "out", Path("/proc/out")]
    if os.getuid():  # root writes anywhere
        outputs.append(closed / "out")
    for out in outputs:
        result = call(bundle, tmp_path / "in", "-o", out)
        assert isinstance(result.exception, UserError), out
        assert "cannot be written" in str(result.exception)


def test_jobs_do_not_go_with_a_stream(bundle: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "in" / "a.wav")
    result = call(bundle, tmp_path / "in", "-o", tmp_path / "out", "--stream", "-j", 2)
    assert result.exit_code == 2
    assert "--jobs 1" in result.stderr


def test_many_files_are_summed_up(bundle: Path, tmp_path: Path) -> None:
    for number in range(60):
        write_tone(tmp_path / "in" / f"{number}.wav")
    result = call(bundle, tmp_path / "in", "-o", tmp_path / "out", "--jobs", 3)
    assert result.exit_code == 0
    ran, line = result.stdout.splitlines()
    assert ran == "core.onnx (fp32) in onnxruntime"
    assert line.startswith("60 done; ")


def test_names_that_are_not_utf8(bundle: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "in" / "a.wav", 2_000)
    names = [b"caf\xe9.wav", b"bad\xff.wav", "ü\n.wav".encode()]
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes((tmp_path / "in" / "a.wav").read_bytes())
    (tmp_path / "in" / os.fsdecode(b"bad\xff.wav")).write_bytes(b"x")
    result = call(bundle, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    counts = json.loads(result.stdout)["counts"]
    assert (counts["done"], counts["failed"]) == (3, 1)
    (line,) = result.stderr.splitlines()
    assert "bad\\udcff.wav: cannot be read as audio" in line
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.wav")).exists()


# Stopped in the middle: in a process of its own, in which each file takes a while to end.
SLOW = """
import sys, time
from frcrn_export.cli import main
from frcrn_export.runtime.files import denoise

class Slow(denoise.FileWriter):
    def __exit__(self, *error):
        try:
            time.sleep(0.05)
        except BaseException:
            super().__exit__(*sys.exc_info())
            raise
        super().__exit__(*error)

denoise.FileWriter = Slow
main(sys.argv[1:])
"""
FILES = 40


def start(*args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, "denoise", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # Processes in the background of a shell ignore it, and their children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def wait_for(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def stop_in_the_middle(process: "subprocess.Popen[str]", out: Path, number: int) -> None:
    """Send a signal while some files are done and one is half written."""
    wait_for(process, lambda: len(list(out.glob("[0-9]*.wav"))) >= 3)
    wait_for(process, lambda: bool(list(out.glob(".*.partial"))))
    process.send_signal(number)


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("[0-9]*.wav")}


def tones(folder: Path) -> list[str]:
    return [write_tone(folder / f"{number:02} '$.wav").name for number in range(FILES)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    jobs: int, bundle: Path, tmp_path: Path
) -> None:
    out, names = tmp_path / "out [1]", tones(tmp_path / "in; in")
    process = start(bundle, tmp_path / "in; in", "-o", out, "-j", jobs, "--json")
    stop_in_the_middle(process, out, signal.SIGINT)
    said, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    before = times(out)
    assert files(out) == sorted(before)
    report = json.loads(said)
    assert report["error"] == "interrupted"
    assert report["counts"]["done"] == len(before)
    assert report["counts"]["not_reached"] == FILES - len(before) > 0
    advice, last = errors.splitlines()[-2:]
    assert last == "interrupted"
    prefix, _, command = advice.partition("run: frcrn-export ")
    assert prefix == "to go on, "
    done = subprocess.run(
        [sys.executable, "-m", "frcrn_export", *shlex.split(command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    counts = json.loads(done.stdout)["counts"]
    assert (counts["done"], counts["skipped"]) == (FILES - len(before), len(before))
    assert sorted(path.name for path in files(out)) == names
    assert {path: times(out)[path] for path in before} == before


def test_ctrl_c_ends_the_wait_for_a_pipe_among_files(bundle: Path, tmp_path: Path) -> None:
    pipe, opened = tmp_path / "pipe.wav", list[int]()
    os.mkfifo(pipe)

    def is_read() -> bool:
        with suppress(OSError):  # until somebody reads
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    tone = write_tone(tmp_path / "a.wav")
    process = start(bundle, tone, pipe, "-o", tmp_path / "out", "-j", 2)
    wait_for(process, is_read)
    process.send_signal(signal.SIGINT)
    try:
        assert "interrupted" in process.communicate(timeout=30)[1]
    finally:
        process.kill()
        os.close(opened[0])
    assert process.returncode == 130


def test_kill_9_and_a_rerun(bundle: Path, tmp_path: Path) -> None:
    out, names = tmp_path / "out", tones(tmp_path / "in")
    process = start(bundle, tmp_path / "in", "-o", out, "-j", 2)
    stop_in_the_middle(process, out, signal.SIGKILL)
    process.communicate(timeout=100)
    before = times(out)
    # There is one already, unless it was renamed before the signal came.
    (out / f".{names[-2]}.{process.pid}.partial").write_bytes(b"half of a file")
    other = out / f".{names[-1]}.{os.getppid()}.partial"
    other.write_bytes(b"of a process that lives")
    result = call(bundle, tmp_path / "in", "-o", out, "--skip-existing", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["counts"]["skipped"] == len(before)
    assert {path: times(out)[path] for path in before} == before
    assert list(out.glob(".*")) == [other]
    assert sorted(times(out)) == [out / name for name in names]
    for path in times(out):
        assert soundfile.info(path).frames == 100


def test_a_run_that_replaces_begins_again(bundle: Path, tmp_path: Path) -> None:
    tones(tmp_path / "in")
    process = start(bundle, tmp_path / "in", "-o", tmp_path / "out", "--force")
    stop_in_the_middle(process, tmp_path / "out", signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "to begin again, run: frcrn-export denoise --output" in errors
    assert "--force" in errors
    assert "--skip-existing" not in errors
