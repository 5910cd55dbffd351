"""`denoise` with standard input and output, pipes and devices, and what it says about losses."""

import io
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from frcrn_export.runtime.commands.denoise import denoise
from frcrn_export.runtime.errors import AudioError, UserError
from tests.bundles import manifest, write_bundle

PROGRAM = "from frcrn_export.cli import main; main()"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams") / "bundle"
    return write_bundle(path, manifest(level="peak"), gain=0.5)


def tone(frames: int = 16_000) -> np.ndarray:
    return 0.5 * np.sin(np.arange(frames) * 0.1)


def encoded(container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(), 16_000, subtype, format=container)
    return file.getvalue()


def call(data: bytes, *args: object) -> Result:
    return CliRunner().invoke(denoise, [str(arg) for arg in args], input=data)


def command(bundle: Path, *args: object) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "denoise", str(bundle), *map(str, args), "-t", "1"]


def check(data: bytes, container: str, subtype: str) -> None:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.format, file.subtype, file.frames) == (container, subtype, 16_000)
        if subtype != "VORBIS":
            np.testing.assert_allclose(file.read(), 0.5 * tone(), atol=1e-3)


@pytest.mark.parametrize(
    ("container", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
)
def test_standard_output_gets_the_format_of_standard_input(
    bundle: Path, container: str, subtype: str
) -> None:
    result = call(encoded(container, subtype), bundle, "-", "-o", "-")
    assert result.exit_code == 0, result.output
    check(result.stdout_bytes, container, subtype)
    assert "1 done" in result.stderr


def test_the_format_can_be_chosen(bundle: Path) -> None:
    result = call(encoded(), bundle, "-", "-o", "-", "--format", "flac", "--json")
    check(result.stdout_bytes, "FLAC", "PCM_16")
    (file,) = json.loads(result.stderr)["files"]
    assert (file["input"], file["output"], file["status"]) == ("-", "-", "done")


def test_standard_input_goes_into_a_file_or_a_folder(bundle: Path, tmp_path: Path) -> None:
    assert call(encoded(), bundle, "-", "-o", tmp_path / "o.flac").exit_code == 0
    check((tmp_path / "o.flac").read_bytes(), "FLAC", "PCM_16")
    (tmp_path / "out").mkdir()
    assert call(encoded("FLAC"), bundle, "-", "-o", tmp_path / "out").exit_code == 0
    check((tmp_path / "out" / "stdin.wav").read_bytes(), "WAV", "PCM_16")


def test_shells_redirect_and_substitute(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a b.wav").write_bytes(encoded())
    line = (
        "cat a\\ b.wav | $DENOISE - -o - > piped.wav && "
        "$DENOISE /dev/stdin -o /dev/stdout < a\\ b.wav > redirected.wav && "
        "$DENOISE <(cat a\\ b.wav) -o substituted.flac"
    )
    script = f'denoise_it() {{ {sys.executable} -c "{PROGRAM}" denoise {bundle} "$@" -t 1; }}; '
    script += line.replace("$DENOISE", "denoise_it")
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    check((tmp_path / "piped.wav").read_bytes(), "WAV", "PCM_16")
    check((tmp_path / "redirected.wav").read_bytes(), "WAV", "PCM_16")
    check((tmp_path / "substituted.flac").read_bytes(), "FLAC", "PCM_16")


def test_named_pipes(bundle: Path, tmp_path: Path) -> None:
    given, taken, got = tmp_path / "in.fifo", tmp_path / "out.fifo", list[bytes]()
    for path in (given, taken):
        os.mkfifo(path)
    threads = [
        threading.Thread(target=given.write_bytes, args=(encoded(),)),
        threading.Thread(target=lambda: got.append(taken.read_bytes())),
    ]
    for thread in threads:
        thread.start()
    result = call(b"", bundle, given, "-o", taken)
    for thread in threads:
        thread.join()
    assert result.exit_code == 0, result.output
    check(got[0], "WAV", "PCM_16")


@pytest.mark.parametrize(
    ("data", "args", "said"),
    [
        (b"", ["-", "-o", "-"], "-: a file of zero length"),
        (b"this is no audio", ["-", "-o", "-"], "-: cannot be read as audio (text"),
        (b"", ["-", "-o", "-", "--format", "xyz"], "'.xyz' is no audio format"),
        (b"", ["a.wav", "b.wav", "-o", "-"], "-: takes one file"),
        (encoded(), ["-", "-o", "/dev/full"], "/dev/full: cannot be written (No space left"),
    ],
)
def test_errors_leave_standard_output_alone(
    bundle: Path, tmp_path: Path, data: bytes, args: list[str], said: str
) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(encoded())
    args = [str(tmp_path / arg) if arg.endswith(".wav") else arg for arg in args]
    result = call(data, bundle, *args)
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout_bytes == b""


def test_options_that_do_not_go_with_a_stream(bundle: Path, tmp_path: Path) -> None:
    assert call(encoded(), bundle, "-", "-o", "-", "--plot").exit_code == 2
    assert call(encoded(), bundle, "-", "-o", tmp_path / "a.wav", "--format", "wav").exit_code == 2


def test_formats_are_checked_before_any_work(tmp_path: Path) -> None:
    """The bundle is not even opened."""
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    for name, said in (("o.opus", "Opus does not take 44100 Hz"), ("o.xyz", "is no audio format")):
        result = call(b"", tmp_path / "no bundle", tmp_path / "a.wav", "-o", tmp_path / name)
        assert isinstance(result.exception, AudioError)
        assert said in str(result.exception)


def test_what_is_lost_is_said_once_and_in_json(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = np.arange(96_000) / 48_000
    music = 0.3 * np.sin(2 * np.pi * 440 * seconds) + 0.02 * np.sin(2 * np.pi * 12_000 * seconds)
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 48_000, 1) as file:
        file.title, file.license = "a title", "a licence"
        file.write(music)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) * 3 // 4])
    result = call(b"", bundle, tmp_path / "a.flac", "-o", tmp_path / "o.wav", "--json")
    (file_,) = json.loads(result.stdout)["files"]
    band, early, tags = file_["losses"]
    assert band.startswith("the band above 8 kHz is gone, -23.")
    assert early.startswith("ends early, at 1.")
    assert early.endswith("of 2.00 s")
    assert tags == "tags left out: license"
    (line,) = caplog.messages
    assert line == f"{tmp_path / 'a.flac'}: {'; '.join(file_['losses'])}"
    frames = soundfile.info(tmp_path / "o.wav").frames
    assert frames / 48_000 == pytest.approx(file_["audio_seconds"], abs=1e-3)


def test_clipped_samples_are_counted(tmp_path: Path) -> None:
    loud = write_bundle(tmp_path / "loud", manifest(level="peak"), gain=1.5)
    soundfile.write(tmp_path / "a.wav", 2 * tone(), 16_000)
    result = call(b"", loud, tmp_path / "a.wav", "-o", tmp_path / "o.wav", "--json")
    (said,) = json.loads(result.stdout)["files"][0]["losses"]
    assert int(said.split()[0]) == pytest.approx(16_000 * (1 - 2 / np.pi * np.arcsin(2 / 3)), abs=9)
    assert "samples clipped: PCM_16" in said


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_file_that_may_not_grow_is_one_line(bundle: Path, tmp_path: Path, suffix: str) -> None:
    """As a full disk: the system refuses what goes beyond 8 KB."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(64_000)
    soundfile.write(tmp_path / "a.wav", noise, 16_000)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))

    done = subprocess.run(
        command(bundle, tmp_path / "a.wav", "-o", tmp_path / "out" / f"o.{suffix}"),
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "cannot be written (File too large)" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_standard_output_is_one_line(
    bundle: Path, tmp_path: Path, options: list[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(bundle, tmp_path / "a.wav", "-o", tmp_path / "o.wav", *options),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert (
        last == "error: the output: cannot be written (No space left on device); make room for it"
    )
    assert "unexpected" not in done.stderr


def test_a_picture_that_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    (tmp_path / "o.png").mkdir()
    result = call(b"", bundle, tmp_path / "a.wav", "-o", tmp_path / "o.wav", "--plot")
    assert isinstance(result.exception, UserError)


NAMES = [b"caf\xe9.wav", b"two\nlines.wav", b"\x1b[31mred.wav", b"a $x$ b_{.wav", b"-.wav"]


@pytest.mark.slow
def test_names_are_bytes(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(encoded())
    arguments = command(bundle, tmp_path / "in", "-o", tmp_path / "out", "--plot", "--json")
    done = subprocess.run(arguments, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    files = json.loads(done.stdout)["files"]
    assert {os.fsencode(file["output"]).split(b"/")[-1] for file in files} == set(NAMES)
    for name in NAMES:
        check((tmp_path / "out" / os.fsdecode(name)).read_bytes(), "WAV", "PCM_16")
    written = {os.fsencode(path.name) for path in (tmp_path / "out").iterdir()}
    assert written == {*NAMES, *(name[:-4] + b".png" for name in NAMES)}
