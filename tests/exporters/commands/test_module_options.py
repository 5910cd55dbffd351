import json
import re
import shlex
from pathlib import Path

import pytest
import soundfile

from frcrn_export.cli import main
from frcrn_export.exporters.assets import DEMO_NOISY
from frcrn_export.runtime.bundle.reader import open_bundle
from tests.exporters.own_modules import BROKEN, GRU, MASK, WAVE, broken, write

STFT = "--stft 128/64/128 --window hann --center --sample-rate 16000 --level none"
ROOT = Path(__file__).parents[3]


def run(line: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line))
    assert (left.value.code or 0) == code, line


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_recurrent_network_goes_all_the_way(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(work, "gru", GRU)
    command = f"onnx --module gru.py:Gru --module-output mask {STFT} --fp16 --streaming"
    run(f"{command} --random-weights 3 --json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["manifest"]["variant"]["module"] == "gru.py:Gru"
    assert printed["manifest"]["weights"]["source"] == "random"
    bundle = open_bundle(work / "gru")
    assert {f.path for f in bundle.manifest.files} == {
        "core.onnx",
        "pre.onnx",
        "post.onnx",
        "core.fp16.onnx",
        "core.streaming.onnx",
        "core.streaming.fp16.onnx",
        "parity.npz",
    }
    (work / "gru.py").unlink()  # from here on the bundle stands for itself
    run("verify gru")
    said = capsys.readouterr().out
    assert "a bundle does not hold the code of your own module gru.py:Gru" in said
    run("verify gru --streaming --seconds 0.5")
    soundfile.write("noisy.wav", soundfile.read(DEMO_NOISY)[0][:16_000], 16_000)
    run("denoise gru noisy.wav -o clean.wav")
    run("denoise gru noisy.wav --stream -o streamed.wav")
    assert soundfile.info("clean.wav").frames == soundfile.info("streamed.wav").frames == 16_000


def test_a_network_of_waves_and_the_command_that_errors_name(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(work, "my wave", WAVE)
    run("onnx --module 'my wave.py:net' --model wave --sample-rate 8000 --multiple 64 -o plain")
    assert "assumed: level none" in capsys.readouterr().err
    assert open_bundle(work / "plain").manifest.assumptions[0].setting == "level"
    run("trt plain --fp16", code=2)
    said = capsys.readouterr().err
    command = said.strip().splitlines()[-1].partition("run: frcrn-export ")[2]
    assert "--fp16" in command
    assert "--multiple 64" in command
    run(command)
    again, plain = (open_bundle(work / name).manifest for name in ("NEW_BUNDLE", "plain"))
    assert again.weights == plain.weights
    assert again.variant == plain.variant
    assert again.file("core", "onnx", "fp16") is not None
    run(
        "torchscript --module 'my wave.py:net' --model wave --sample-rate 8000 --multiple 64 "
        "--level none -o plain"
    )
    assert open_bundle(work / "plain").manifest.file("core", "torchscript") is not None


def test_the_page_of_the_docs(work: Path) -> None:
    page = (ROOT / "docs" / "own_module.md").read_text()
    code, commands = (
        re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
        for kind in ("python", "bash")
    )
    write(work, "my", code)
    soundfile.write("noisy.wav", soundfile.read(DEMO_NOISY)[0][:16_000], 16_000)
    for line in commands.splitlines():
        run(line.removeprefix("frcrn-export "))
    assert open_bundle(work / "mine").manifest.assumptions == ()
    assert soundfile.info("clean.wav").frames == 16_000


@pytest.mark.slow
def test_engines_and_int8(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(work, "crn", MASK)
    Path("recordings").mkdir()
    soundfile.write("recordings/one.wav", soundfile.read(DEMO_NOISY)[0][:48_000], 16_000)
    run(f"onnx --module crn.py:build --module-output mask {STFT} --fp16")
    run("trt crn --fp16 --backend tensorrt-rtx")
    run("calibrate crn --for cpu --calib recordings --allow-slower")
    files = open_bundle(work / "crn").manifest.files
    assert any(f.precision == "int8" for f in files)
    assert any(f.engine for f in files)


@pytest.mark.parametrize("name", ["branch", "numpy", "length", "loop", "long", "operator"])
def test_what_does_not_trace_names_its_line(
    name: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(work, "bad", broken(name))
    run(f"onnx --module bad.py:Broken --module-output spectrum {STFT}", code=2)
    printed = capsys.readouterr()
    assert printed.out == ""
    (said,) = printed.err.strip().splitlines()
    assert "bad.py:10" in said
    assert BROKEN[name][1] in said
    assert [path.name for path in work.iterdir() if path.name != "__pycache__"] == ["bad.py"]


def test_what_no_float16_is(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        work, "bad", broken("raises").replace(BROKEN["raises"][0], "y = y @ torch.eye(x.shape[-1])")
    )
    run(f"onnx --module bad.py:Broken {STFT} --fp16", code=2)
    assert "mixes dtypes in forward; give tensors that it makes" in capsys.readouterr().err
    assert not (work / "bad").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("onnx --window hann", "--window goes with --module; add it"),
        ("onnx --stft 512/256/512", "--stft goes with --module; add it"),
        ("onnx --stft whole", "takes split, inline, or with --module WINDOW/HOP/FFT"),
        ("onnx --module my.py:build", "add --sample-rate HZ"),
        ("onnx --module my.py:build --sample-rate 16000", "no such file"),
        ("onnx --module my.py:b --sample-rate 16000 --squeeze-excite global", "leave it out"),
        ("onnx --module my.py --sample-rate 16000", "names no callable"),
        ("torchscript --stft inline", "'inline': takes or with --module"),
    ],
)
def test_options(line: str, says: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(line, code=2)
    assert says in capsys.readouterr().err


def test_help_says_that_code_is_executed(capsys: pytest.CaptureFixture[str]) -> None:
    run("onnx --help")
    assert "Its code is executed." in " ".join(capsys.readouterr().out.split())
