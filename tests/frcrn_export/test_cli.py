import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from frcrn_export import cli
from frcrn_export.exporters.registry import models
from frcrn_export.runtime.errors import BundleError, CheckFailed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(list(args))
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def test_help_lists_every_command_without_importing_torch() -> None:
    code = (
        "import sys; from frcrn_export.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'numpy', 'msgspec', 'rich', 'soundfile'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = shown.stdout.splitlines()
    for group, commands in cli.GROUPS.items():
        begin = lines.index(f"{group}:") + 1
        listed = [line.split()[0] for line in lines[begin : begin + len(commands)]]
        assert listed == list(commands)
    assert max(map(len, lines)) <= 80


def test_the_table_names_every_command() -> None:
    assert list(cli.GROUPS) == ["Export", "Run", "Check", "Train"]
    assert len(cli.COMMANDS) == sum(map(len, cli.GROUPS.values()))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Usage: frcrn-export " + name in out


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "onyx")
    assert code == 2
    assert "No such command 'onyx'" in err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BundleError("b: altered"), 2, "error: b: altered"),
        (CheckFailed("12 dB"), 1, "error: 12 dB"),
        (ModuleNotFoundError("no", name="torch.onnx"), 2, 'pip install "frcrn-export[export]"'),
        (ModuleNotFoundError("no", name="matplotlib"), 2, 'pip install "frcrn-export[plot]"'),
        (ModuleNotFoundError("no", name="seaborn"), 1, "unexpected ModuleNotFoundError: no"),
        (ZeroDivisionError("oops"), 1, "ZeroDivisionError: oops (traceback: frcrn-export --debug"),
        (MemoryError(), 2, "error: this takes more memory than there is"),
        (RuntimeError("x.cpp: can't allocate memory: you tried"), 2, "more memory than there is"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    left, out, err = run(capsys, "models")
    assert (left, out) == (code, "")
    assert line in err
    assert err.count("\n") == 1
    if isinstance(error, Exception):
        left, _, err = run(capsys, "--debug", "models")
        assert left == code
        assert "Traceback" in err
        left, out, _ = run(capsys, "models", "--json")
        said = json.loads(out)
        assert (left, said["exit_code"]) == (code, code)
        assert line.removeprefix("error: ") in said["error"]


def test_an_empty_argument_is_not_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "denoise", "bundle", "", "-o", "out", "--json")
    assert code == 2
    assert "an empty argument" in err
    assert json.loads(out)["exit_code"] == 2


@pytest.mark.parametrize(("has_gpu", "extra"), [(False, "cpu"), (True, "gpu")])
def test_the_onnxruntime_that_fits_the_machine_is_named(
    has_gpu: bool, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi" if has_gpu else None)
    said, code = cli._said_of(ModuleNotFoundError("no", name="onnxruntime"))
    assert said.endswith(f'run: pip install "frcrn-export[{extra}]"')
    assert code == 2


def test_every_package_of_an_extra_is_known_to_the_hint() -> None:
    """What an extra brings is named with an extra that does bring it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: {Requirement(line).name for line in lines}
        for name, lines in project["optional-dependencies"].items()
        if name != "dev"
    }
    modules = {"cuda-core": "cuda", "cuda-bindings": "cuda", "onnxruntime-gpu": "onnxruntime"}
    modules["pyyaml"] = "yaml"
    for package in set.union(*extras.values()):
        module = modules.get(package, package.replace("-", "_"))
        assert package in extras[cli.EXTRAS[module]] | {"onnxruntime-gpu"}, package
    assert set(cli.EXTRAS.values()) <= set(extras)


@pytest.mark.parametrize("module", ["frcrn_export.cli", "click", "click.core", "inspect"])
def test_ctrl_c_while_the_command_line_is_imported(module: str) -> None:
    assert_quiet(interrupted_at(module, "models"))


@pytest.mark.parametrize("module", ["numpy", "msgspec", "rich.table"])
def test_ctrl_c_while_a_command_is_imported(module: str) -> None:
    assert_quiet(interrupted_at(module, "models"))


def interrupted_at(module: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """The program, sent SIGINT when it begins to import this module."""
    code = f"""
import os, signal, sys
from importlib.machinery import PathFinder
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
for name in [name for name in sys.modules if name == {module!r}]:
    del sys.modules[name]
sys.meta_path.insert(0, CtrlC())
sys.argv[1:] = {list(args)!r}
from frcrn_export.__main__ import main
main()
"""
    # As in a terminal: a program that runs in the background of a shell ignores Ctrl-C.
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def assert_quiet(result: "subprocess.CompletedProcess[str]") -> None:
    assert result.returncode == 130, result.stderr
    assert result.stderr.strip() == "interrupted"
    assert result.stdout == ""


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    name = "größe-\udcff"  # the last byte of the file's name is no UTF-8
    result = subprocess.run(
        [sys.executable, "-m", "frcrn_export", "inspect", name],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: gr")
    assert result.stderr.count(b"\n") == 1
    result.stderr.decode("ascii")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    program = f"{shlex.quote(sys.executable)} -m frcrn_export"
    models = subprocess.run(f"{program} models {closed}", shell=True, capture_output=True)
    assert (models.returncode, models.stderr) == (0, b"")
    missing = subprocess.run(f"{program} inspect /gone {closed}", shell=True, capture_output=True)
    assert missing.returncode == 2
    assert b"unexpected" not in missing.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGPIPE")
@pytest.mark.parametrize(
    "words", [("models",), ("models", "--json"), ("--help",), ("models", "-h")]
)
def test_a_reader_that_goes_away_is_no_failed_check(words: tuple[str, ...]) -> None:
    with subprocess.Popen(
        (sys.executable, "-m", "frcrn_export", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + 13  # as a shell says of SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("full", ["2> /dev/full", "> /dev/full 2> /dev/full", "--json > /dev/full"])
def test_where_an_error_cannot_be_printed_the_exit_code_stays(full: str) -> None:
    program = f"{shlex.quote(sys.executable)} -m frcrn_export"
    missing = subprocess.run(f"{program} inspect /gone {full}", shell=True, capture_output=True)
    assert missing.returncode == 2
    assert missing.stderr.count(b"\n") <= 1


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_onnx_runtime_keeps_and_sends_nothing(
    before: str | None, after: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
        if before is not None:
            patch.setenv("ORT_DISABLE_TELEMETRY", before)
        run(capsys, "--version")
        assert os.environ["ORT_DISABLE_TELEMETRY"] == after


def test_a_command_writes_nothing_beside_its_output(wave_unet_bundle: Path, tmp_path: Path) -> None:
    """Neither in the home nor among the temporary files: ONNX Runtime would."""
    home, output = tmp_path / "home", tmp_path / "speech.wav"
    home.mkdir()
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(home))
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | places
    speech = ROOT / "exporters/assets/speech.flac"
    subprocess.run(
        [sys.executable, "-m", "frcrn_export", "denoise", wave_unet_bundle, speech, "-o", output],
        env=environment,
        check=True,
        capture_output=True,
    )
    assert output.exists()
    assert list(home.rglob("*")) == []


def test_warnings_of_the_library_are_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*args: object) -> None:
        logging.getLogger("frcrn_export.runtime").info("not this")
        logging.getLogger("frcrn_export.runtime").warning("the file %s is old", "a.onnx")

    monkeypatch.setattr("frcrn_export.runtime.commands.doctor.examine", warn)
    monkeypatch.setattr("frcrn_export.runtime.commands.doctor.asdict", lambda machine: {})
    for _ in range(2):
        _, _, err = run(capsys, "doctor", "--json")
        assert err == "warning: the file a.onnx is old\n"


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert all(name in out for name in models())
    _, out, _ = run(capsys, "models", "--json")
    assert [model["name"] for model in json.loads(out)] == list(models())


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["packages"]["torch"].startswith("2.")
    works = {ability["name"]: ability["works"] for ability in found["abilities"]}
    assert works["run ONNX on the CPU"]
    assert works["export ONNX and TorchScript"]
    assert run(capsys, "doctor")[0] == 0


def test_inspect(wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", str(wave_unet_bundle), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["manifest"]["model"] == "wave-unet-16k"
    cost = found["graphs"]["core.onnx"]
    assert cost["operators"]["Conv"] > 0
    assert cost["parameters"] > 100_000
    code, out, _ = run(capsys, "inspect", str(wave_unet_bundle))
    assert "GFLOP" in out
    assert "seed 1 (random)" in out


def test_a_streaming_core_from_export_to_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_path = str(tmp_path / "out")
    words = ("onnx", "--random-weights", "1", "--streaming", "--chunk", "2", "-o", out_path)
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "core.streaming.onnx" in out
    assert f"Next: frcrn-export verify {out_path} --streaming" in out
    code, out, _ = run(capsys, "inspect", out_path)
    assert "128 samples, 8 ms" in out
    assert "encoder.0.next" in out
    code, out, _ = run(capsys, "verify", out_path, "--json")
    assert code == 0
    found = json.loads(out)
    cases = [r["case"] for r in found["parity"] if r["artifact"] == "core.streaming.onnx"]
    assert len(cases) == 7
    assert found["unchecked"] == []
    code, out, _ = run(capsys, "inspect", out_path, "--json")
    costs = {path: cost["flop"] for path, cost in json.loads(out)["graphs"].items()}
    # A second call by call costs what a second costs; a filter has 16 taps where it had 15.
    assert costs["core.streaming.onnx"] == pytest.approx(costs["core.onnx"], rel=0.1)


def test_verify(wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", str(wave_unet_bundle), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["reference"] is True
    assert {result["artifact"] for result in found["parity"]} == {"core.onnx", "high-pass (numpy)"}
    assert any(result["case"].startswith("reference.") for result in found["parity"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("onnx", "-m", "frcn-16k"), "unknown model 'frcn-16k'; did you mean frcrn-16k?"),
        (("onnx", "-m", "frcrn-16k"), "frcrn-export fetch frcrn-16k"),
        (("onnx", "-c", "gone.pth"), "gone.pth"),
        (("onnx", "-c", "gone.pth", "--random-weights", "1"), "exclude each other"),
        (("torchscript", "-m", "wave-unet-12x24"), "has no packaged weights"),
        (("verify", "nowhere"), "no bundle here"),
        (("inspect", "nowhere"), "no such bundle or checkpoint; make a bundle: frcrn-export onnx"),
        (("onnx", "-m", "frcrn-16k", "--stft", "sideways"), "sideways"),
        (("onnx", "--chunk", "2"), "--chunk and --lookahead go with --streaming"),
        (("onnx", "--streaming", "--lookahead", "3"), "leave out --lookahead 3"),
        (("onnx", "--streaming", "--chunk", "0"), "--chunk"),
        (("onnx", "--streaming", "--chunk", "100000"), "not in the range 1<=x<=64"),
        (("trt", "--streaming", "--chunk", "65"), "not in the range 1<=x<=64"),
    ],
)
def test_bad_input(
    args: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args)
    assert code == 2
    assert out == ""
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists(
    wave_unet_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "manifest.json").write_text("{}")
    code, _, err = run(capsys, "onnx", "--random-weights", "1", "-o", str(tmp_path / "taken"))
    assert code == 2
    assert "--force" in err


def test_verify_says_what_it_could_not_run(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from frcrn_export.runtime.verify import parity

    monkeypatch.setattr(parity, "is_installed", lambda package: package == "onnxruntime")
    code, out, _ = run(capsys, "verify", str(wave_unet_bundle))
    assert code == 0
    assert "Not compared here: core.pt" in out
    monkeypatch.setattr(parity, "is_installed", lambda package: False)
    code, _, err = run(capsys, "verify", str(wave_unet_bundle))
    assert code == 2
    assert "core.onnx, core.pt: not compared; opening TorchScript runs the code in it" in err
    assert err.endswith("no installed backend runs it, see: frcrn-export doctor\n")


def test_verify_with_a_backend_that_does_not_exist(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "verify", str(wave_unet_bundle), "-b", "onnxruntme")
    assert code == 2
    assert "did you mean onnxruntime?" in err


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (("train", "wave-unet-16k", "--speech", "a", "--speech", "b"), "--speech"),
        (("evaluate", "bundle", "--pairs", "a", "-p", "b"), "--pairs"),
        (("calibrate", "bundle", "--calib", "c", "--pairs", "a", "--pairs", "b"), "--pairs"),
        (("onnx", "-o", "a", "--output=b"), "--output"),
        (
            ("denoise", "b", "a.wav", "-o", "c.wav", "--precision", "fp16", "--precision", "fp32"),
            "",
        ),
        (("stream", "b", "--status", "--no-status"), "--status/--no-status"),
    ],
)
def test_an_option_for_one_value_given_twice(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], option: str
) -> None:
    code, _, err = run(capsys, *args)
    assert code == 2
    assert f"{option} is given 2 times; give it once (see: frcrn-export {args[0]} --help)" in err


def test_what_may_be_repeated_is_not_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for args in (
        ("verify", tmp_path, "-b", "onnxruntime-cpu", "-b", "torchscript"),
        ("calibrate", tmp_path, "--calib", "a", "--calib", "b"),
        ("onnx", "-f", "--force", "--checkpoint", tmp_path / "none.pt"),
    ):
        code, _, err = run(capsys, *map(str, args))
        assert code == 2
        assert "times" not in err
