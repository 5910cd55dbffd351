"""`frcrn-export refit` on the simulated GPU, and engines without weights."""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from frcrn_export.cli import main
from frcrn_export.engines.refit import refit
from frcrn_export.engines.weight_map import names_of, require_refittable
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.runtime.bundle.layer_report import LayerReport
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError, BundleError, UserError
from frcrn_export.runtime.sessions.registry import BACKENDS
from tests.engines.tiny import tiny_model
from tests.runtime.verify.test_parity import rewrite_manifest
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine, simulated_gpu

Call = Callable[[str], tuple[int, str, str]]
SMALL = WaveUNetConfig(channels=(4, 6), strides=(4, 4), kernel_size=9)
SETTINGS = "--strides 4,4 --level none"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two checkpoints of a small network, and the bundle of the first."""
    folder = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("old.pt", "new.pt")):
        torch.manual_seed(seed)
        torch.save(WaveUNet(SMALL).state_dict(), folder / name)
    line = f"onnx --checkpoint {folder / 'old.pt'} {SETTINGS} -o {folder / 'bundle'}"
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line))
    assert not left.value.code
    return folder


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    with simulated_gpu(monkeypatch, tmp_path / "cache", ("tensorrt",)) as simulated:
        yield simulated


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line))
        return int(left.value.code or 0), *capsys.readouterr()

    return call


def weights_of(path: Path) -> tuple[str, ...]:
    """The weights of an ONNX file that an engine takes anew: all that are not shapes."""
    tensors = onnx.load(path).graph.initializer
    return tuple(t.name for t in tensors if t.data_type == onnx.TensorProto.FLOAT)


def with_engine(made: Path, root: Path, *, left_out: str = "", stripped: bool = False) -> FileEntry:
    """A copy of the bundle with a stand-in engine that takes new weights but for `left_out`."""
    shutil.copytree(made / "bundle", root)
    names = tuple(name for name in weights_of(root / "core.onnx") if name != left_out)
    shape = {"low": (1, 1, 16), "best": (1, 1, 1600), "high": (8, 1, 160_000)}
    facts = {"refittable": names, "stripped": stripped, "context": not stripped}
    entry = add_engine(root, precision="fp32", **facts, **shape)
    assert entry.engine is not None
    report = LayerReport(layers=(), io=(), nodes={}, weights={name: name for name in names})
    (root / entry.engine.layers).write_bytes(report.to_json())
    rewrite_manifest(root)
    return entry


def difference(root: Path, entry: FileEntry) -> float:
    """Between the engine and the bundle's ONNX file, relative to the output."""
    bundle = open_bundle(root)
    now = next(e for e in bundle.manifest.files if e.path == entry.path)
    core = next(e for e in bundle.manifest.files if e.path == "core.onnx")
    wave = 0.1 * np.random.default_rng(3).standard_normal((1, 1, 1600), dtype=np.float32)
    ours = BACKENDS["tensorrt"].open(bundle, now, 1).run(wave)
    theirs = BACKENDS["onnxruntime-cpu"].open(bundle, core, 1).run(wave)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("stripped", [False, True])
def test_an_engine_takes_the_weights_of_another_checkpoint(
    gpu: SimulatedGpu, made: Path, tmp_path: Path, run: Call, stripped: bool
) -> None:
    root = tmp_path / "b c"
    entry = with_engine(made, root, stripped=stripped)
    old, plan = (root / "core.onnx").read_bytes(), (root / entry.path).read_bytes()
    assert difference(root, entry) < 1e-5
    code, out, err = run(f"refit {shlex.quote(str(root))} --checkpoint {made / 'new.pt'} --json")
    assert code == 0, err
    assert (root / "core.onnx").read_bytes() != old
    assert ((root / entry.path).read_bytes() == plan) == stripped
    assert difference(root, entry) < 1e-5
    manifest = open_bundle(root).manifest
    assert manifest.weights.name == "new.pt"
    now = next(e.engine for e in manifest.files if e.path == entry.path)
    assert now is not None
    assert [e.path for e in manifest.files if e.role == "context"] == [now.context] * (not stripped)
    assert (now.refittable, now.stripped, now.verified_on) == (True, stripped, gpu.name)
    assert "passed all" in json.loads(out)["engines"][entry.path]
    # Once more: the engine still can be refitted.
    assert run(f"refit {shlex.quote(str(root / entry.path))} -c {made / 'old.pt'}")[0] == 0
    assert difference(root, entry) < 1e-5


def test_without_a_gpu_an_engine_without_weights_is_refitted_and_not_verified(
    made: Path, tmp_path: Path, run: Call
) -> None:
    entry = with_engine(made, tmp_path / "b", stripped=True)
    code, out, err = run(f"refit {tmp_path / 'b'} -c {made / 'new.pt'} -o {tmp_path / 'new'}")
    assert code == 0, err
    shown = " ".join(out.split())
    assert f"{entry.path}: Built by tensorrt" in shown
    assert "refitted when it is opened with those of new.pt. Since then it has" in shown
    assert f"frcrn-export verify {tmp_path / 'new'} --backend tensorrt" in shown
    assert open_bundle(tmp_path / "b").manifest.weights.name == "old.pt"
    engine = next(e.engine for e in open_bundle(tmp_path / "new").manifest.files if e.engine)
    core = next(e for e in open_bundle(tmp_path / "new").manifest.files if e.path == "core.onnx")
    assert (engine.source_sha256, engine.verified_on) == (core.sha256, None)


def test_without_a_gpu_an_engine_with_weights_is_left_as_it_was(
    made: Path, tmp_path: Path, run: Call
) -> None:
    with_engine(made, tmp_path / "b")
    before = {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()}
    code, _, err = run(f"refit {tmp_path / 'b'} -c {made / 'new.pt'}")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()} == before


def test_what_would_keep_an_old_weight_is_refused(made: Path, tmp_path: Path, run: Call) -> None:
    name = weights_of(made / "bundle" / "core.onnx")[0]
    with_engine(made, tmp_path / "b", left_out=name)
    code, _, err = run(f"refit {tmp_path / 'b'} -c {made / 'new.pt'}")
    assert code == 2
    assert f"1 weights differ that the engine keeps ({name}); build an engine" in err
    assert open_bundle(tmp_path / "b").manifest.weights.name == "old.pt"
    command = err[err.index("frcrn-export trt ") :].removeprefix("frcrn-export ")
    command = command.replace("NEW_BUNDLE", str(tmp_path / "new"))
    # Classic TensorRT, and refittable engines of TensorRT-RTX, take a GPU.
    command = command.replace("--refittable", "").replace("--backend tensorrt", "")
    assert run(command)[0] == 0
    assert open_bundle(tmp_path / "new").manifest.weights.name == "new.pt"


def test_another_network_is_refused(made: Path, tmp_path: Path, run: Call) -> None:
    with_engine(made, tmp_path / "b", stripped=True)
    other = WaveUNetConfig(channels=(4, 8), strides=(4, 4), kernel_size=9)
    torch.save(WaveUNet(other).state_dict(), tmp_path / "other.pt")
    code, _, err = run(f"refit {tmp_path / 'b'} -c {tmp_path / 'other.pt'}")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert open_bundle(tmp_path / "b").manifest.weights.name == "old.pt"


def test_engines_that_cannot_be_refitted_say_how_to_build_one(
    made: Path, tmp_path: Path, run: Call
) -> None:
    checkpoint = made / "new.pt"
    code, _, err = run(f"refit {made / 'bundle'} -c {checkpoint}")
    assert code == 2
    assert "build one that can be refitted, on a machine with the GPU: " in " ".join(err.split())
    root = tmp_path / "b"
    shutil.copytree(made / "bundle", root)
    shape = {"low": (1, 1, 16), "best": (1, 1, 1600), "high": (1, 1, 1600)}
    add_engine(root, precision="fp32", **shape)
    code, _, err = run(f"refit {root} -c {checkpoint}")
    assert "without --refittable; on a machine with the GPU, run: frcrn-export trt" in err
    assert "--refittable --force" in err
    with_engine(made, tmp_path / "c", stripped=True)
    add_engine(tmp_path / "c", "tensorrt-rtx", precision="fp32", **shape)
    code, _, err = run(f"refit {tmp_path / 'c'} -c {checkpoint}")
    assert code == 2
    assert "core.fp32.sm89.tensorrt-rtx.engine behind" in err
    command = err[err.index("frcrn-export refit ") :].removeprefix("frcrn-export ")
    code, _, err = run(command.replace("NEW_BUNDLE", str(tmp_path / "new")))
    assert code == 0, err
    assert sum(e.engine is not None for e in open_bundle(tmp_path / "new").manifest.files) == 1


def test_an_engine_without_weights_and_without_their_file(
    gpu: SimulatedGpu, made: Path, tmp_path: Path
) -> None:
    root = tmp_path / "b"
    entry = with_engine(made, root, stripped=True)
    bundle = open_bundle(root)
    files = tuple(
        msgspec.structs.replace(e, engine=msgspec.structs.replace(e.engine, source_sha256="1" * 64))
        if e.engine
        else e
        for e in bundle.manifest.files
    )
    from tests.bundles import write_manifest

    write_manifest(root, msgspec.structs.replace(bundle.manifest, files=files))
    bundle = open_bundle(root)
    now = next(e for e in bundle.manifest.files if e.path == entry.path)
    with pytest.raises(BackendError, match=r"has no weights, .*--strip-weights --force, .*refit"):
        BACKENDS["tensorrt"].open(bundle, now, 1)


@pytest.mark.parametrize("given", ["nowhere", "nowhere/core.fp16.engine"])
def test_a_mistyped_bundle_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="^nowhere: no bundle here"):
        refit(Path(given), tmp_path / "w.pth")


def test_names_of_weights() -> None:
    assert names_of(["a.weight", "a.weight_2", "b"], ["a", "a.weight", "c"]) == {
        "a.weight": "a.weight",
        "a.weight_2": "a.weight",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.graph.node.pop(), "nodes, not"),
        (lambda m: setattr(m.graph.node[1], "op_type", "Cos"), "node node_conv2d .Cos."),
        (lambda m: m.graph.node[1].attribute[0].ints.append(3), "the attributes of node"),
        (lambda m: m.graph.initializer.pop(), "the shape or type of kernel_1"),
    ],
)
def test_another_graph_is_said(change: Callable[[onnx.ModelProto], object], said: str) -> None:
    new = tiny_model()
    change(new)
    with pytest.raises(UserError, match=f"another graph than the engine: .*{said}"):
        require_refittable(tiny_model(), new, {}, "x.engine", "mend it")


def test_equal_weights_need_not_be_taken() -> None:
    old, new = tiny_model(), tiny_model()
    require_refittable(old, new, {}, "x.engine", "mend it")
    kernel = numpy_helper.to_array(new.graph.initializer[0]) * 2
    new.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    require_refittable(old, new, {"kernel": "kernel"}, "x.engine", "mend it")
    with pytest.raises(UserError, match="1 weights differ that the engine keeps"):
        require_refittable(old, new, {"kernel_1": "kernel_1"}, "x.engine", "mend it")
