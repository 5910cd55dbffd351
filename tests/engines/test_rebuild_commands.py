"""The commands that errors about engines print, run as printed: they build the engine as it was."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from frcrn_export.cli import main
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.runtime.bundle.layer_report import layer_report
from frcrn_export.runtime.bundle.manifest import EngineInfo, FileEntry
from frcrn_export.runtime.bundle.reader import open_bundle

Call = Callable[[str], tuple[int, str]]
SMALL = WaveUNetConfig(channels=(4, 6), strides=(4, 4), kernel_size=9)
FP32 = "--fp32 --no-tf32 --gpu 'rtx3090,RTX 4090' --samples 16:160:1600 --batch 1:2:3"
STREAM = "--fp16 --streaming --gpu ampere+ --batch 3"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a streaming core, and two engines for several GPUs."""
    root = tmp_path_factory.mktemp("made") / "it's; a $(b)"
    torch.manual_seed(0)
    torch.save(WaveUNet(SMALL).state_dict(), root.parent / "mine.pt")
    path = shlex.quote(str(root))
    weights = f"--checkpoint {root.parent / 'mine.pt'} --strides 4,4 --level none"
    for line in (
        f"onnx {weights} --fp16 --streaming -o {path}",
        f"trt {path} {FP32} --workspace 512 --backend tensorrt-rtx",
        f"trt {path} {STREAM} --backend tensorrt-rtx",
    ):
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line))
        assert not left.value.code, line
    return root


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(line: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line))
        return int(left.value.code or 0), capsys.readouterr().err

    return call


def printed(err: str) -> str:
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    return line[line.index("run: frcrn-export ") :].removeprefix("run: frcrn-export ")


def engines(root: Path) -> dict[str, FileEntry]:
    return {entry.path: entry for entry in open_bundle(root).manifest.files if entry.engine}


def info(entry: FileEntry) -> EngineInfo:
    assert entry.engine is not None
    return entry.engine


def test_the_manifest_the_report_and_the_names_tell_the_sms(bundle: Path) -> None:
    found = engines(bundle)
    assert {path: (info(e).gpu, info(e).sms) for path, e in found.items()} == {
        "core.fp32.sm86-89.tensorrt-rtx.engine": ("rtx3090,rtx4090", (86, 89)),
        "core.streaming.batch3.fp16.sm80-86-89-120-121.tensorrt-rtx.engine": (
            "ampere+",
            (80, 86, 89, 120, 121),
        ),
    }
    for entry in found.values():
        assert layer_report(open_bundle(bundle), entry).sms == info(entry).sms
        assert f"for SM 8.{'6' if entry.precision == 'fp32' else '0'}, " in info(entry).verification


def test_inspect_shows_the_sms_and_the_memory(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", str(bundle)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "rtx3090,rtx4090 (SM 8.6, 8.9)" in shown
    assert "ampere+ (SM 8.0, 8.6, 8.9, 12.0, 12.1)" in shown
    assert shown.count("MB by the builder (estimated: ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("what", ["engine", "layers.json"])
def test_a_damaged_engine_is_built_again_as_it_was(what: str, copy: Path, run: Call) -> None:
    before = engines(copy)
    for path in before:
        damaged = copy / path.replace("engine", what)
        data = damaged.read_bytes()
        damaged.write_bytes(b"x" * len(data))
        code, err = run(f"inspect {shlex.quote(str(copy))}")
        assert code == 2
        command = printed(err)
        assert command.endswith(" --force")
        assert run(command)[0] == 0
    after = engines(copy)
    assert {path: info(e) for path, e in after.items()} == {p: info(e) for p, e in before.items()}


@pytest.mark.slow
@pytest.mark.parametrize("options", [FP32, STREAM])
def test_an_engine_that_exists_is_replaced_by_what_is_printed(
    options: str, copy: Path, run: Call
) -> None:
    path, before = shlex.quote(str(copy)), engines(copy)
    code, err = run(f"trt {path} {options} --workspace 256 --backend tensorrt-rtx")
    assert code == 2
    assert run(printed(err))[0] == 0
    (entry,) = (e for e in engines(copy).values() if e.precision == options[2:6])
    wanted = msgspec.structs.replace(info(before[entry.path]), workspace_bytes=256 << 20)
    assert info(entry) == wanted


def test_several_gpus_are_not_for_classic_tensorrt(copy: Path, run: Call) -> None:
    code, err = run(f"trt {shlex.quote(str(copy))} --gpu rtx3090,rtx4090 --backend tensorrt")
    assert code == 2
    assert "give --backend tensorrt-rtx, or on a GPU from Ampere on: --gpu auto" in err


def test_what_a_family_leaves_out_is_said(copy: Path, run: Call) -> None:
    code, err = run(f"trt {shlex.quote(str(copy))} --gpu ampere --fp16 --batch 1")
    assert code == 0
    assert "ampere: without SM 8.7, which tensorrt-rtx does not serve" in err


def against(
    capsys: pytest.CaptureFixture[str], a: Path, b: Path, *more: str
) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["inspect", str(a), "--against", str(b), *more])
    return int(left.value.code or 0), *capsys.readouterr()


def test_two_engines_are_compared_what_differs_first(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (bundle / name for name in engines(bundle))
    code, out, _ = against(capsys, one, other)
    assert code == 0
    assert out.index("What differs") < out.index("The same in both")
    code, out, _ = against(capsys, one, other, "--json")
    (found,) = json.loads(out)
    differs = {row["what"]: (row["a"], row["b"]) for row in found["different"]}
    assert differs["precision"] == ("fp32", "fp16")
    assert differs["SMs"] == ("8.6, 8.9", "8.0, 8.6, 8.9, 12.0, 12.1")
    assert {"size", "activation memory", "nodes: Conv"} <= differs.keys()
    assert "refittable" in {row["what"] for row in found["same"]}
    conv = next(row for row in found["nodes"] if row["operator"] == "Conv")
    assert {conv["a"], conv["b"]} <= {"Float", "Half", ""}
    # Layer reports alone know of layers, types and memory.
    reports = [bundle / info(e).layers for e in engines(bundle).values()]
    for report in reports:
        shutil.copy(report, bundle.parent / report.name)
    code, out, _ = against(capsys, *(bundle.parent / r.name for r in reports), "--json")
    (alone,) = json.loads(out)
    assert alone["nodes"] == found["nodes"]
    assert "precision" not in {row["what"] for row in alone["different"]}


def test_bundles_are_compared_name_by_name(
    bundle: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = against(capsys, bundle, copy, "--json")
    assert code == 0
    found = json.loads(out)
    assert [Path(each["a"]).name for each in found] == list(engines(bundle))
    assert all(each["different"] == each["nodes"] == [] for each in found)
    code, out, _ = against(capsys, bundle, copy)
    assert out.count("differ in nothing") == 2


def test_what_cannot_be_compared_says_what_to_give(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = bundle / next(iter(engines(bundle)))
    code, _, err = against(capsys, bundle / "core.onnx", one)
    assert code == 2
    assert "no engine there to compare; build one: frcrn-export trt" in err
    broken = tmp_path / "x.layers.json"
    broken.write_text("[]")
    code, _, err = against(capsys, broken, one)
    assert code == 2
    assert "not a layer report" in err
    code, _, err = against(capsys, tmp_path / "nothing", one)
    assert code == 2
    assert len(err.splitlines()) == 1


def test_inspect_lists_what_the_lint_found(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, expected in ((["--layers"], "narrow channels"), (["--json"], '"kind": "channels"')):
        with pytest.raises(SystemExit):
            main(["inspect", str(bundle), *words])
        assert expected in capsys.readouterr().out
