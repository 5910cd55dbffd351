"""`frcrn-export trt`, and what `inspect` and `verify` say of its engines."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frcrn_export import cli
from frcrn_export.engines.commands import trt
from frcrn_export.runtime.bundle import transaction
from frcrn_export.runtime.bundle.filesystem import FileSystem
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.sessions import tensorrt_backends as backends

ENGINE = "core.fp16.sm89.tensorrt-rtx.engine"


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main([str(arg) for arg in args])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def fails(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    """The one line of an error with exit code 2."""
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def entry(path: Path, name: str) -> FileEntry:
    return next(e for e in open_bundle(path).manifest.files if e.path == name)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_adds_the_fp16_file_and_the_engine_to_a_bundle(
    engine_bundle: Path, wave_unet_bundle: Path
) -> None:
    before, after = open_bundle(wave_unet_bundle).manifest, open_bundle(engine_bundle).manifest
    assert after.files[: len(before.files)] == before.files
    added = [(e.path, e.role, e.precision) for e in after.files[len(before.files) :]]
    assert added == [
        ("core.fp16.onnx", "core", "fp16"),
        (ENGINE, "core", "fp16"),
        ("core.fp16.sm89.tensorrt-rtx.layers.json", "layers", "fp16"),
        ("core.fp16.sm89.tensorrt-rtx.context.onnx", "context", "fp16"),
    ]
    assert set(before.parity) <= set(after.parity)
    fp16 = [result for result in after.parity if result.artifact == "core.fp16.onnx"]
    assert {r.case for r in fp16} >= {f"reference.pipeline.{db}-dBFS" for db in (-50, -25, 0)}
    assert all(result.passed for result in fp16)
    assert {result.floor_db for result in fp16} == {
        45,
        35,
        25,
    }  # less in noise and where it is loud

    found = entry(engine_bundle, ENGINE)
    assert found.engine is not None
    assert (found.engine.sms, found.engine.gpu, found.engine.verified_on) == (
        (89,),
        "rtx4090d",
        None,
    )
    assert found.engine.source_sha256 == entry(engine_bundle, "core.fp16.onnx").sha256
    assert found.engine.version == backends.version_of("tensorrt-rtx")
    assert "has not been run" in found.engine.verification
    assert "passed parity on ONNX Runtime" in found.engine.verification


def test_from_a_model_to_an_engine_in_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = "--gpu 3090 --samples 128:16000:32000 --batch 2 --workspace 256 --log build.log --json"
    args += " --flavor tensorrt-rtx"  # as --backend was called
    code, out, _ = run(capsys, "trt", "--fp16", *args.split())
    assert code == 0
    shown = json.loads(out)
    assert shown["bundle"] == "wave-unet-16k"
    assert shown["engine"]["engine"]["sms"] == [86]
    assert shown["engine"]["engine"]["profile"] == {
        "min": [2, 1, 128], "opt": [2, 1, 16000], "max": [2, 1, 32000],
    }  # fmt: skip
    assert set(shown["census"]["Conv"]) == {"Half"}
    assert set(shown["census"]["ConvTranspose"]) == {"Half"}
    assert "Layers:" in Path("build.log").read_text()

    code, out, _ = run(capsys, "trt", "wave-unet-16k", "--fp32", "--no-tf32")
    assert code == 0
    assert "core.fp32.sm89.tensorrt-rtx.engine" in out
    assert "random" not in out.lower()
    engines = [e for e in open_bundle("wave-unet-16k").manifest.files if e.engine is not None]
    assert [e.precision for e in engines] == ["fp16", "fp32"]


def test_a_second_engine_needs_force(
    engine_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    before = contents(path)
    assert "to replace it run: frcrn-export trt " in fails(capsys, "trt", path)
    assert contents(path) == before
    code, out, _ = run(capsys, "trt", path, "--force", "--batch", "1")
    assert code == 0
    assert "Random weights" in out
    found = entry(path, ENGINE)
    assert found.engine is not None
    assert found.engine.profile.max[0] == 1


def test_what_is_exported_already_needs_no_torch(engine_bundle: Path, tmp_path: Path) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    code = "import sys; sys.modules['torch'] = None\nfrom frcrn_export.cli import main; main()"
    words = ("trt", path, "--backend", "tensorrt-rtx", "--batch", "2", "--force")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_inspect_shows_which_precision_runs_where(
    engine_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "inspect", engine_bundle)
    assert code == 0
    assert "Precision census" in out
    assert "rtx4090d (SM 8.9)" in out
    code, out, _ = run(capsys, "inspect", engine_bundle, "--json")
    assert json.loads(out)["census"][ENGINE]["Conv"] == {"Half": 3}


def test_verify_says_that_the_engine_was_not_run(
    engine_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (engine_bundle / "manifest.json").read_bytes()
    code, out, _ = run(capsys, "verify", engine_bundle, "--json")
    assert code == 0
    shown = json.loads(out)
    assert set(shown["unchecked"]) == {ENGINE, "core.pt"}
    assert "has not been run" in shown["engines"][ENGINE]
    assert (engine_bundle / "manifest.json").read_bytes() == before
    assert "no NVIDIA driver" in fails(capsys, "verify", engine_bundle, "-b", "tensorrt-rtx")


def test_explain_prints_commands_and_builds_nothing(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "_build", None)
    before = contents(wave_unet_bundle)
    code, out, _ = run(capsys, "trt", wave_unet_bundle, "--explain", "--batch", "1:2:3")
    assert code == 0
    lines = out.splitlines()
    # Into another bundle: `onnx` adds to none.
    again = "frcrn-export onnx --model wave-unet-16k --random-weights 1 --fp16 -o NEW_BUNDLE"
    assert again in lines
    assert any(line.startswith("tensorrt_rtx --onnx=NEW_BUNDLE/core.fp16.onnx ") for line in lines)
    assert sum("polygraphy run" in line for line in lines) == 2
    assert f"--saveEngine={ENGINE}" in out  # not into the bundle
    assert contents(wave_unet_bundle) == before


def test_explain_is_no_json(wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "trt", wave_unet_bundle, "--explain", "--json")
    assert code == 2
    assert "leave out --json" in err


def test_explain_keeps_the_floor(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, floor in (((), 45), (("--fp16-floor", "30"), 30), (("--fp32",), 90)):
        _, out, _ = run(capsys, "trt", wave_unet_bundle, "--explain", *options)
        assert f"--snr-threshold {floor}" in out
    _, out, _ = run(capsys, "trt", wave_unet_bundle, "--explain", "--fp16-floor", "30")
    assert " --fp16 --fp16-floor 30 -o NEW_BUNDLE" in out


def test_explain_needs_no_gpu_that_classic_tensorrt_would(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "trt", wave_unet_bundle, "--gpu", "h200", "--fp32", "--explain")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("trtexec "))
    assert f"--onnx={wave_unet_bundle}/core.onnx" in line
    assert "core.fp32.sm90.tensorrt.engine" in line


@pytest.mark.parametrize("damage", ["missing", "altered", "no report"])
def test_a_damaged_engine_is_built_anew(
    damage: str, engine_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    if damage == "altered":
        (path / ENGINE).write_bytes(b"x" * (path / ENGINE).stat().st_size)
    else:
        (path / (ENGINE if damage == "missing" else f"{Path(ENGINE).stem}.layers.json")).unlink()
    command = (
        f"trt {path} --fp16 --batch 1:1:4 --samples 64:16000:128640 --gpu rtx4090d "
        "--backend tensorrt-rtx --force"
    )
    for reader in (("trt", path), ("inspect", path), ("verify", path)):
        assert f"run: frcrn-export {command}" in fails(capsys, *reader)
    code, _, err = run(capsys, *command.split())
    assert (code, err) == (0, "")
    open_bundle(path)  # every file is as the manifest says


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--log", "nowhere/x.log"], "--log nowhere/x.log: cannot be written (No such file"),
        (["--fp16", "--fp32"], "exclude each other"),
        (["--int8", "--fp16"], "exclude each other"),
        (["--int8", "--fp32"], "exclude each other"),
        (["--int8", "--fp8"], "exclude each other"),
        (["--calib", "x"], "--calib is for --int8 and --fp8"),
        (["--int8", "--no-tf32"], "--no-tf32 is for --fp32"),
        (["--gpu", "rtx409"], "did you mean rtx4090"),
        (["--gpu", "auto"], "name the one to build for"),
        (["--gpu", "h200", "--backend", "tensorrt-rtx"], "does not serve"),
        (["--gpu", "h200"], "needs classic TensorRT"),
        (["--samples", "256:128:512"], "needs 1 <= MIN <= OPT <= MAX"),
        (["--samples", "100:128:256"], "multiples of 64"),
        (["--frames", "1:50:400"], "takes no choice of frames"),
        (["--backend", "tensorrt"], "tensorrt is not installed"),
        (["--hardware-compatible"], "instead of --hardware-compatible give --gpu ampere+"),
        (["--timing-cache", "cache"], "leave out --timing-cache"),
        (["--no-tf32"], "--no-tf32 is for --fp32"),
        (["--model", "frcrn-16k"], "holds wave-unet-16k, not frcrn-16k"),
        (["--random-weights", "7"], "not random weights of seed 7"),
        (["--checkpoint", "gone.pth"], "gone.pth: no such file"),
        (["--checkpoint", __file__], "not the file this bundle was made from (seed 1)"),
        (["--squeeze-excite", "cumulative"], "--squeeze-excite cumulative: the model in"),
        (["-o", "elsewhere"], "give one of them"),
        (["--workspace", "0"], "trt --help"),
    ],
)
def test_what_cannot_be_used(
    args: list[str], says: str, wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(wave_unet_bundle)
    assert says in fails(capsys, "trt", wave_unet_bundle, *args)
    assert contents(wave_unet_bundle) == before


def test_no_builder_installed(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(backends, "import_module", missing)
    assert 'pip install "frcrn-export[rtx]"' in fails(capsys, "trt", wave_unet_bundle)


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "is no bundle" in fails(capsys, "trt", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("bundle", ["frcm", "core.onnx", "models/frcrn"])
def test_a_mistyped_bundle_is_not_exported(
    bundle: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = fails(capsys, "trt", bundle, "--explain")
    assert f"{bundle} is no bundle; give one" in line
    assert "--model NAME, --checkpoint FILE or --random-weights SEED" in line
    assert not list(tmp_path.iterdir())
    code, out, _ = run(capsys, "trt", bundle, "--random-weights", "1", "--explain")
    assert code == 0
    assert out.startswith(f"# {bundle}: wave-unet-16k, weights: seed 1")


def test_a_core_that_is_not_ours(
    engine_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from frcrn_export.runtime.bundle.reader import sha256_of

    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    fp16 = path / "core.fp16.onnx"
    old = entry(path, fp16.name)
    fp16.write_bytes(b"not ONNX" * 9)
    manifest = (path / "manifest.json").read_text()
    manifest = manifest.replace(old.sha256, sha256_of(fp16))
    manifest = manifest.replace(f'"bytes": {old.bytes}', f'"bytes": {fp16.stat().st_size}')
    (path / "manifest.json").write_text(manifest)
    before = contents(path)
    assert "cannot be read as ONNX" in fails(capsys, "trt", path, "--gpu", "8.6")
    assert contents(path) == before


def test_a_full_disk_leaves_the_bundle_as_it_was(
    engine_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    before = contents(path)

    class Full(FileSystem):
        def create(self, path: Path) -> int:
            self.path = path
            return super().create(path)

        def write(self, handle: int, content: memoryview) -> int:
            if self.path.suffix == ".engine":
                super().write(handle, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(handle, content)

    monkeypatch.setattr(transaction, "DISK", Full())
    line = fails(capsys, "trt", path, "--gpu", "8.6")
    assert "No space left on device, what was there is unchanged" in line
    assert contents(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["bundle"]


def test_weights_that_are_not_at_hand(
    wave_unet_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(wave_unet_bundle, tmp_path / "bundle")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["weights"] = {"source": "checkpoint", "name": "mine.pt", "sha256": "0" * 64}
    (path / "manifest.json").write_text(json.dumps(manifest))
    line = fails(capsys, "trt", path)
    assert "no core.fp16.onnx" in line
    assert "mine.pt are not at hand (give them with --checkpoint)" in line
    other = tmp_path / "other.pt"
    other.write_bytes(b"another")
    assert "not the file this bundle was made from" in fails(capsys, "trt", path, "-c", other)


def test_the_fp16_file_computes_in_fp16_and_agrees(engine_bundle: Path) -> None:
    import onnx

    graph = onnx.load(engine_bundle / "core.fp16.onnx").graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) > 1]
    assert weights
    assert all(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)
    from frcrn_export.runtime.audio.measures import snr_db
    from frcrn_export.runtime.sessions.registry import BACKENDS

    bundle = open_bundle(engine_bundle)
    rng = np.random.default_rng(3)
    wave = 0.1 * rng.standard_normal((1, 1, 128 * 37), dtype=np.float32)
    single, fp16 = (
        BACKENDS["onnxruntime-cpu"].open(bundle, entry(engine_bundle, name), 1).run(wave)
        for name in ("core.onnx", "core.fp16.onnx")
    )
    assert 45 < snr_db(single, fp16) < 110
