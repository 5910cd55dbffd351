import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import soundfile
from click.testing import CliRunner, Result

from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.commands.pack import pack
from tests.bundles import write_bundle, write_manifest
from tests.int8_standins import add_int8, scaled
from tests.runtime.pack.bundles import open_unchecked, results, write_full_bundle
from tests.standin.install import add_engine

ROOT = Path(__file__).parents[3]
SPEECH = ROOT / "exporters" / "assets" / "speech.flac"
PROGRAM = Path(sys.executable).with_name("frcrn-export")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_full_bundle(tmp_path_factory.mktemp("full") / "bundle")


def call(*args: object) -> Result:
    return CliRunner().invoke(pack, [str(arg) for arg in args])


def test_files_sizes_and_what_to_do_there(full: Path, tmp_path: Path) -> None:
    result = call(full, "--target", "cpu", "--streaming", "-o", tmp_path / "a b.tar")
    assert result.exit_code == 0, result.output
    rows = {
        cells[0]: cells[1:]
        for line in result.stdout.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│").split("│")]) == 3
    }
    size = (full / "core.streaming.onnx").stat().st_size
    assert rows["core.streaming.onnx"] == ["core_streaming", f"{size:,}"]
    assert rows["SHA256SUMS"][0] == "hashes"
    assert rows["the whole bundle"] == ["", f"{sum(p.stat().st_size for p in full.iterdir()):,}"]
    assert result.stdout.splitlines()[-5:] == [
        "Random weights: for dry runs only, the output is not speech.",
        "Unpack: tar -xf 'a b.tar'",
        "Check the files: (cd 'a b' && sha256sum -c SHA256SUMS)",
        "Verify: frcrn-export verify 'a b'",
        "Stream: frcrn-export stream 'a b' < noisy.wav > clean.wav",
    ]


def test_json(full: Path, tmp_path: Path) -> None:
    result = call(full, "--target", "arm64", "-o", tmp_path / "part", "--json")
    found = json.loads(result.stdout)
    assert (found["target"], found["output"]) == ("arm64", str(tmp_path / "part"))
    listed = {file["path"]: file["sha256"] for file in found["files"]}
    lines = [f"{listed[name]}  {name}\n" for name in sorted(listed) if name != "SHA256SUMS"]
    assert (tmp_path / "part" / "SHA256SUMS").read_text() == "".join(lines)
    assert found["bytes"] == sum(file["bytes"] for file in found["files"])
    assert set(found["commands"]) == {"Check the files", "Verify", "Denoise", "Stream"}
    assert any("None of this ran on ARM" in sentence for sentence in found["verified"])


def test_int8_is_asked_for_in_the_commands(full: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(full, tmp_path / "bundle"))
    add_int8(bundle, lambda model: scaled(model, 1.001))
    options = ("--target", "cpu", "--precision", "int8", "-o", tmp_path / "part.zip", "--json")
    found = json.loads(call(bundle, *options).stdout)
    commands = found["commands"]
    assert found["verified"] == [
        "core.int8.cpu.onnx: passed its gates where it was made: pesq.",
        "Random weights: for dry runs only, the output is not speech.",
    ]
    assert commands["Unpack"] == "unzip part.zip"
    assert commands["Denoise"].endswith("denoise part noisy.wav -o clean.wav --precision int8")
    assert "Stream" not in commands


def test_an_engine_says_what_was_verified(full: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(full, tmp_path / "bundle"))
    shape = (1, 2, 321, 9)
    add_engine(bundle, low=shape, best=shape, high=shape, verification="Not run yet.")
    result = call(bundle, "--target", "tensorrt:sm89", "-o", tmp_path / "part", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (engine,) = (file["path"] for file in found["files"] if file["path"].endswith(".engine"))
    assert f"{engine}: Not run yet." in found["verified"]
    assert {"core.onnx", "core.streaming.onnx"}.isdisjoint(f["path"] for f in found["files"])


def test_an_unknown_target_and_a_missing_option(full: Path, tmp_path: Path) -> None:
    assert "unknown target 'x86'" in str(
        call(full, "--target", "x86", "-o", tmp_path / "a").exception
    )
    assert "Missing option '--target'" in call(full, "-o", tmp_path / "a").stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["part.tar", "part.tar.gz"])
def test_the_printed_commands_run(name: str, small_wave_bundle: Bundle, tmp_path: Path) -> None:
    """In a shell, where the archive lies."""
    result = call(small_wave_bundle.path, "--target", "cpu", "-o", tmp_path / name, "--json")
    commands = json.loads(result.stdout)["commands"]
    assert len(commands) == 5
    shutil.copy(SPEECH, tmp_path / "noisy.flac")
    for purpose, command in commands.items():
        line = command.replace("frcrn-export", shlex.quote(str(PROGRAM))).replace(
            "noisy.wav", "noisy.flac"
        )
        if purpose == "Stream":
            line = line.replace("noisy.flac", "clean.wav", 1).replace("> clean", "> again")
        done = subprocess.run(line, shell=True, cwd=tmp_path, check=False, capture_output=True)
        assert done.returncode == 0, (purpose, done.stderr)
    assert (tmp_path / "again.wav").stat().st_size > 1_000


@pytest.mark.slow
def test_the_page_runs(small_wave_bundle: Bundle, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "pack.md").read_text()
    blocks = re.findall(r"^```(bash|sh|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name in ("frcrn", "wave"):
        shutil.copytree(small_wave_bundle.path, tmp_path / name)
    soundfile.write(tmp_path / "noisy.wav", *soundfile.read(SPEECH))
    commands = "".join(text for kind, text in blocks if kind != "python" and "gpg" not in text)
    lines = commands.replace("frcrn-export ", f"{shlex.quote(str(PROGRAM))} ")
    done = subprocess.run(f"set -e\n{lines}", shell=True, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "clean.wav").frames == soundfile.info(SPEECH).frames
    (snippet,) = (text for kind, text in blocks if kind == "python")
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)
    assert (tmp_path / "wave-cpu.zip").is_file()


def test_a_bundle_for_another_target(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    result = call(bundle, "--target", "tensorrt-rtx:sm89", "-o", tmp_path / "part.tar")
    assert "frcrn-export trt" in str(result.exception)
    assert not (tmp_path / "part.tar").exists()


def test_parity_of_the_files_alone_is_said(full: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(full, tmp_path / "bundle"))
    compared = {"core.onnx": "core.noise", "pre.onnx": "pre.silence", "stft (numpy)": "pre.silence"}
    described = msgspec.structs.replace(open_unchecked(bundle), parity=results(compared))
    write_manifest(bundle, described)
    options = ("--target", "cpu", "--json", "-o")
    parity, _ = json.loads(call(bundle, *options, tmp_path / "a").stdout)["verified"]
    assert parity.endswith(
        "of 1 comparison core.onnx, core.noise is the closest to its floor: 120.0 dB, at least 90."
    )
    found = json.loads(call(bundle, "--streaming", *options, tmp_path / "b").stdout)
    assert len(found["verified"]) == 1
