"""Files and folders under any name, and terminals of any encoding."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.bundles import write_bundle

LATIN_1 = b"caf\xe9"  # is not UTF-8


def run(*args: object, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    words = [arg if isinstance(arg, bytes) else os.fsencode(str(arg)) for arg in args]
    return subprocess.run(
        [sys.executable, "-m", "frcrn_export", *words],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
    )


ENVIRONMENTS = [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_recording_whose_name_is_not_utf_8(tmp_path: Path, environment: dict[str, str]) -> None:
    root = write_bundle(tmp_path / "b")
    recording = os.fsencode(tmp_path) + b"/" + LATIN_1 + b".wav"
    soundfile.write(recording, np.zeros(2_000), 16_000, format="WAV")
    result = run("denoise", root, recording, "-o", tmp_path / "out", **environment)
    assert (result.returncode, result.stderr.count(b"\n")) == (0, 1)
    assert result.stderr.endswith(b"b: gain, weights: gain (random: the output is not speech)\n")
    assert [os.fsencode(file.name) for file in (tmp_path / "out").iterdir()] == [LATIN_1 + b".wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_bundle_whose_name_is_not_utf_8(tmp_path: Path, environment: dict[str, str]) -> None:
    """ONNX Runtime cannot open it, which is one line."""
    folder = os.fsencode(tmp_path) + b"/" + LATIN_1
    write_bundle(tmp_path / "b").rename(Path(os.fsdecode(folder)))
    soundfile.write(tmp_path / "a.wav", np.zeros(2_000), 16_000)
    for command in ([b"verify", folder], [b"inspect", folder], [b"denoise", folder + b"x"]):
        more = [tmp_path / "a.wav", "-o", tmp_path / "o.wav"] if command[0] == b"denoise" else []
        result = run(*command, *more, **environment)
        assert b"unexpected" not in result.stderr
        assert b"Traceback" not in result.stderr
        assert result.returncode in (0, 2)
    result = run("denoise", folder, tmp_path / "a.wav", "-o", tmp_path / "o.wav", **environment)
    assert result.returncode == 2
    assert b"a name that is not UTF-8: rename it" in result.stderr


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_names_that_a_terminal_would_obey(tmp_path: Path, environment: dict[str, str]) -> None:
    root = write_bundle(tmp_path / "b")
    name = "\x1b]0;owned\x07\u202ewav.wav"
    soundfile.write(tmp_path / "a.wav", np.zeros(2_000), 16_000)
    (tmp_path / "a.wav").rename(tmp_path / name)
    for arguments in (
        ("denoise", root, tmp_path / name, "-o", tmp_path / "out"),
        ("denoise", root, tmp_path / name, "-o", tmp_path / "out"),  # it exists by now
        ("denoise", root, tmp_path / f"no{name}", "-o", tmp_path / "out"),
        ("denoise", tmp_path / name, tmp_path / name, "-o", tmp_path / "other"),
        ("denoise", root, tmp_path / "a.wav", "--backend", name, "-o", tmp_path / "other"),
        (name,),
    ):
        result = run(*arguments, **environment)
        printed = (result.stdout + result.stderr).decode()
        assert printed
        assert "\x1b" not in printed
        assert "\u202e" not in printed
