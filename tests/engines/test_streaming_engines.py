"""`frcrn-export trt --streaming`."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from frcrn_export.cli import main
from frcrn_export.engines.build import read_source
from frcrn_export.engines.bundle import engine_name
from frcrn_export.engines.explain import explain
from frcrn_export.engines.profiles import make_streaming_profile
from frcrn_export.runtime.bundle.manifest import FileEntry, Profile, TensorSpec
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import STFT
from tests.engines.tiny import options
from tests.int8_bundles import add_int8
from tests.streaming_bundles import Core, write_streaming_bundle

ENGINE = "core.streaming.fp16.sm89.tensorrt-rtx.engine"
SPEC = TensorSpec(name="spec", dtype="float32", shape=("batch", 2, 321, 1))
STATES = (
    TensorSpec(name="end", dtype="float32", shape=("batch",)),
    TensorSpec(name="past", dtype="float32", shape=("batch", 8, 1, 40)),
)
THREE = options(
    profile=Profile(min=(3, 2, 321, 1), opt=(3, 2, 321, 1), max=(3, 2, 321, 1)), states=STATES
)


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From a model to a streaming engine in one command."""
    path = tmp_path_factory.mktemp("bundles") / "streaming"
    with pytest.raises(SystemExit) as left:
        main(["trt", "--streaming", "--random-weights", "1", "--chunk", "2", "-o", str(path)])
    assert not left.value.code
    return path


def entry(path: Path, name: str) -> FileEntry:
    return next(e for e in open_bundle(path).manifest.files if e.path == name)


def test_from_a_model_to_a_streaming_engine(built: Path) -> None:
    engine, source = entry(built, ENGINE), entry(built, "core.streaming.fp16.onnx")
    assert (engine.role, engine.precision) == ("core_streaming", "fp16")
    assert engine.streaming == source.streaming
    assert engine.streaming is not None
    assert engine.streaming.chunk == 128
    assert engine.engine is not None
    assert engine.engine.profile.min == engine.engine.profile.max == (1, 1, 128)
    assert engine.engine.source_sha256 == source.sha256
    assert "passed parity on ONNX Runtime" in engine.engine.verification
    report = json.loads((built / engine.engine.layers).read_bytes())
    inputs = {t["name"]: t["dims"] for t in report["io"] if t["mode"] == "input"}
    expected = [tuple(map(int, (1, *t.shape[1:]))) for t in engine.call_inputs]
    assert list(map(tuple, inputs.values())) == expected  # static, nothing is -1
    assert list(inputs) == [tensor.name for tensor in engine.call_inputs]


def test_every_layer_is_in_fp16(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", built, "--json")
    assert code == 0
    census = json.loads(out)["census"][ENGINE]
    assert set(census["Gemm"]) == {"Half"}
    assert "Conv" not in census


def test_engines_for_several_streams_lie_side_by_side(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(built, tmp_path / "b")
    code, out, _ = run(capsys, "trt", path, "--streaming", "--fp32", "--batch", "4")
    assert code == 0
    name = "core.streaming.batch4.fp32.sm89.tensorrt-rtx.engine"
    assert name in out
    assert f"verify {path} --streaming --backend tensorrt-rtx" in out
    found = entry(path, name)
    assert found.engine is not None
    assert found.engine.profile.max == (4, 1, 128)
    assert found.engine.source == "core.streaming.onnx"
    assert entry(path, ENGINE) == entry(built, ENGINE)
    code, _, err = run(capsys, "trt", path, "--streaming")
    assert (code, "to replace it run: frcrn-export trt " in err) == (2, True)


def test_the_fp16_core_is_added_where_it_is_missing(
    built: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import msgspec

    from tests.bundles import write_manifest

    path = shutil.copytree(built, tmp_path / "b")
    manifest = open_bundle(path).manifest
    kept = [e for e in manifest.files if e.precision == "fp32" and e.format != "engine"]
    write_manifest(path, msgspec.structs.replace(manifest, files=tuple(kept)))
    code, _, err = run(capsys, "trt", path, "--streaming", "--force")
    assert (code, err) == (0, "")
    # In a shell the user would read them: of a missing torchvision.
    remarks = [record for record in caplog.records if record.name.startswith("torch.onnx")]
    assert not [record for record in remarks if record.levelno >= logging.WARNING]
    fp16 = entry(path, "core.streaming.fp16.onnx")
    assert fp16.streaming == entry(built, fp16.path).streaming


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--batch", "1:2:4"], "--batch 1:2:4: a streaming engine is for one number of streams"),
        (["--chunk", "3"], "--chunk 3: the streaming core of"),
        (["--lookahead", "1"], "has 0; leave out --lookahead"),
        (["--samples", "128"], "takes no choice of samples"),
    ],
)
def test_what_a_streaming_engine_cannot_be(
    args: list[str], says: str, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(file.name for file in built.iterdir())
    code, out, err = run(capsys, "trt", built, "--streaming", *args)
    assert (code, out) == (2, "")
    assert says in err
    assert sorted(file.name for file in built.iterdir()) == before


def test_a_bundle_without_a_streaming_core(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "trt", wave_unet_bundle, "--streaming")
    assert code == 2
    assert "no streaming core in this bundle" in err
    assert (
        "run: frcrn-export trt --streaming --model wave-unet-16k --random-weights 1 -o NEW_BUNDLE"
        in err
    )
    code, _, err = run(capsys, "trt", wave_unet_bundle, "--chunk", "2")
    assert (code, "go with --streaming" in err) == (2, True)


def test_explain_prints_the_shapes_of_the_states(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "trt", built, "--streaming", "--batch", "2", "--explain")
    assert code == 0
    lines = out.splitlines()
    assert "core.streaming.fp16.onnx" in lines[2]
    assert "core.streaming.batch2.fp16.sm89.tensorrt-rtx.engine" in lines[2]
    assert "--optShapes=wave:2x1x128,encoder.0:2x12x1," in lines[2]
    assert "--minShapes" not in lines[2]  # trtexec takes the same ones
    assert all("'encoder.0:[2,12,1]" in line for line in (lines[4], lines[6]))


def test_explain_lets_random_streams_go_on() -> None:
    build, convert, reference, _ = explain(Path("a.onnx"), Path("a.engine"), "spec", THREE, 45.0)
    assert "--optShapes=spec:3x2x321x1,end:3,past:3x8x1x40" in build
    shapes = "'spec:[3,2,321,1]' 'end:[3]' 'past:[3,8,1,40]'"
    for which in ("min", "opt", "max"):
        assert f"--trt-{which}-shapes {shapes}" in convert
    assert f"--input-shapes {shapes} --val-range 'end:[16777216,16777216]'" in reference


def test_names_of_engines() -> None:
    one = options(
        profile=Profile(min=(1, 2, 9, 1), opt=(1, 2, 9, 1), max=(1, 2, 9, 1)), states=STATES
    )
    assert engine_name("fp16", one) == ENGINE
    assert engine_name("fp16", THREE) == "core.streaming.batch3.fp16.sm89.tensorrt-rtx.engine"
    assert engine_name("fp32", options()) == "core.fp32.sm89.tensorrt-rtx.engine"


def test_the_profile_is_one_shape(built: Path) -> None:
    manifest = open_bundle(built).manifest
    assert make_streaming_profile(manifest, SPEC).max == (1, 2, 321, 1)
    assert make_streaming_profile(manifest, SPEC, batch="6").min == (6, 2, 321, 1)


def test_a_file_with_other_states_than_the_manifest_says(tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core("halved_end", 1, 2), STFT)
    core = path / "core.streaming.onnx"
    assert read_source(core, ["past", "index", "end"]).input == "spec"
    with pytest.raises(UserError, match="its states are not those that the manifest names"):
        read_source(core, ["past"])
    with pytest.raises(UserError, match="where a core has one of each"):
        read_source(core)


def test_an_int8_engine(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shutil.copytree(built, tmp_path / "bundle")
    calibrate = f"frcrn-export calibrate {path} --for rtx4090d --calib FOLDER --streaming"
    code, _, err = run(capsys, "trt", path, "--streaming", "--int8")
    assert (code, err.endswith(f"run: {calibrate}\n")) == (2, True)
    source = add_int8(path, "core_streaming")
    code, out, _ = run(capsys, "trt", path, "--streaming", "--int8", "--json")
    assert code == 0
    assert set(json.loads(out)["quantized"].values()) == {"Int8"}
    engine = entry(path, ENGINE.replace("fp16", "int8"))
    assert engine.streaming == source.streaming
    assert engine.engine is not None
    assert engine.engine.source == "core.streaming.int8.onnx"
