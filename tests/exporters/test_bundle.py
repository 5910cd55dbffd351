import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from frcrn_export.engines.bundle import add_engine
from frcrn_export.engines.gpus import DEFAULT_GPU
from frcrn_export.engines.options import BuildOptions
from frcrn_export.engines.profiles import make_profile
from frcrn_export.engines.targets import find_targets
from frcrn_export.exporters.bundle import (
    add_fp16_core,
    add_fp16_streaming_core,
    export_onnx,
    export_torchscript,
)
from frcrn_export.exporters.families.wave_unet import FAMILY as family
from frcrn_export.exporters.hard_sound import hard_waves
from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.own_module import OwnModule, load_own_module
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.exporters.streaming_export import StreamingOptions
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.layer_report import census, read_layer_report
from frcrn_export.runtime.bundle.manifest import FileEntry, Precision, StftSpec
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.sessions.registry import BACKENDS
from tests.bundles import compared_files
from tests.exporters.own_modules import MASK, write

# frcrn-16k goes the whole way in tests/test_readme.py.
SLOW_MODELS = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("frcrn-16k-512", "wave-unet-12x24")
]


def speech(samples: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(samples).astype(np.float32) * np.float32(0.05)


def scale_one_weight(module: torch.nn.Module, factor: float) -> None:
    """Multiply the largest value of the last weight by `factor`."""
    weight = [p for p in module.parameters() if p.ndim > 1][-1]
    with torch.no_grad():
        largest = weight.abs() == weight.abs().max()
        weight.mul_(torch.where(largest, factor, 1.0))


@pytest.mark.parametrize("name", ["wave-unet-16k", *SLOW_MODELS])
def test_a_bundle_of_every_model(name: str, tmp_path: Path) -> None:
    model = load_model(name, seed=0)
    bundle = export_onnx(model, tmp_path / "out", fp16=True)
    manifest = bundle.manifest
    assert manifest.model == name
    assert manifest.weights.seed == 0
    assert all(result.passed for result in manifest.parity)
    assert {result.case.split(".")[0] for result in manifest.parity} >= {
        "core",
        "pipeline",
        "reference",
    }
    roles = [entry.role for entry in manifest.files]
    spectral = ["pre", "post", "core_long"] if model.spec.stft else []
    assert roles == ["core", *spectral, "core", "parity"]
    assert manifest.files[-2].precision == "fp16"
    compared = {result.artifact for result in manifest.parity}
    assert compared >= {entry.path for entry in manifest.files if entry.format == "onnx"}

    core = onnx.load(bundle.path / "core.onnx")
    properties = {entry.key: entry.value for entry in core.metadata_props}
    assert properties["model"] == name
    assert properties["sample_rate"] == "16000"
    assert core.producer_name == "frcrn-export"
    assert not any(node.op_type in ("GatherND", "Loop", "If", "Scan") for node in core.graph.node)

    output = Denoiser.open(bundle, threads=1, high_pass=False)(speech(9_000))
    expected = model.pipeline()(torch.from_numpy(speech(9_000))).numpy()
    np.testing.assert_allclose(output, expected, atol=1e-4 * np.abs(expected).max())
    if manifest.stft is not None:
        _check_ops(bundle, manifest.stft)
        joined = export_torchscript(model, bundle.path).manifest
        assert set(manifest.parity) <= set(joined.parity)
        assert all(r.passed for r in joined.parity if r.artifact == "core.pt")
    _check_engine(bundle)


def _check_engine(bundle: Bundle) -> None:
    """An engine for the default GPU comes out, all convolutions in fp16."""
    profile = make_profile(bundle.manifest, bundle.manifest.files[0].inputs[0])
    options = BuildOptions("tensorrt-rtx", find_targets(DEFAULT_GPU), profile)
    entry, _ = add_engine(bundle.path, "fp16", options)
    assert entry.engine is not None
    assert all(r.passed for r in open_bundle(bundle.path).manifest.parity)
    layers = (bundle.path / entry.engine.layers).read_bytes()
    counts = census(read_layer_report(layers, "layers"))
    source = bundle.manifest.file("core", "onnx", "fp16")
    assert source is not None
    # Layers that float16 would cost too much stay in float32.
    kinds = {"Half", "Float"} if source.float32_layers else {"Half"}
    assert set(counts["Conv"]) == kinds
    assert set(counts.get("ConvTranspose", {"Half": 0})) == {"Half"}


def _check_ops(bundle: Bundle, spec: StftSpec) -> None:
    """`pre.onnx` and `post.onnx` do what the runtime does in NumPy, to 1e-5."""
    stft = Stft(spec)
    wave = speech(3 * 4_000).reshape(3, 4_000)
    spectrum = run(bundle, "pre", wave)
    np.testing.assert_allclose(spectrum, stft.analysis(wave), atol=1e-5)
    back = run(bundle, "post", spectrum)
    np.testing.assert_allclose(back, stft.synthesis(spectrum), atol=1e-5)


def run(bundle: Bundle, role: str, value: np.ndarray) -> np.ndarray:
    entry = bundle.manifest.file(role, "onnx")  # type: ignore[arg-type]
    assert entry is not None
    return BACKENDS["onnxruntime-cpu"].open(bundle, entry, 1).run(value)


def spectral_model(folder: Path) -> LoadedModel:
    """A small network with an STFT of its own."""
    path = write(folder, "mask", MASK)
    stft = (512, 128, 512)
    return load_own_module(OwnModule(f"{path}:build", 16_000, stft, output="mask"), seed=0)


@pytest.mark.parametrize("spectral", [False, True])
def test_one_file_from_waveform_to_waveform(spectral: bool, tmp_path: Path) -> None:
    model = spectral_model(tmp_path) if spectral else load_model("wave-unet-16k", seed=0)
    bundle = export_onnx(model, tmp_path / "out", stft="inline")
    assert [entry.path for entry in bundle.manifest.files] == ["denoiser.onnx", "parity.npz"]
    wave = np.stack([speech(5_001), 0.01 * speech(5_001)[::-1]])
    output = run(bundle, "pipeline", wave)
    for given, got in zip(wave, output, strict=True):
        expected = model.pipeline()(torch.from_numpy(given.copy())).numpy()
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_fixed_segments_have_no_inline_form(tmp_path: Path) -> None:
    model = load_model("wave-unet-12x24", seed=0)
    with pytest.raises(UserError, match="no inline form"):
        export_onnx(model, tmp_path / "out", stft="inline")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("export", [export_onnx, export_torchscript])
def test_one_weight_off_by_one_percent_fails_and_leaves_nothing(export, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = load_model("wave-unet-16k", seed=0)
    scale_one_weight(model.lowered, 1.01)
    with pytest.raises(CheckFailed, match="comparisons with the reference missed"):
        export(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_torchscript_joins_the_bundle_of_the_same_weights(
    wave_unet_bundle: Path, tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    shutil.copytree(wave_unet_bundle, target)
    manifest = open_bundle(target).manifest
    assert {entry.path for entry in manifest.files} == {"core.onnx", "core.pt", "parity.npz"}
    assert compared_files(manifest.parity) == {"core.onnx", "core.pt"}

    same = load_model("wave-unet-16k", seed=1)
    with pytest.raises(UserError, match=r"core\.pt exists; add --force"):
        export_torchscript(same, target)
    export_torchscript(same, target, force=True)
    other = load_model("wave-unet-16k", seed=2)
    with pytest.raises(UserError, match="holds wave-unet-16k with the weights seed 1"):
        export_torchscript(other, target, force=True)
    changed = load_model("wave-unet-16k", seed=1, options={"causal": False, "strides": (2, 2, 2)})
    with pytest.raises(UserError) as refused:
        export_torchscript(changed, target, force=True)
    assert str(refused.value) == (
        f"{target} holds wave-unet-16k with strides 4,4,4 (not 2,2,2) and causal true (not "
        "false); choose another path with -o"
    )


def test_a_fp16_core_that_is_off_is_not_added(
    wave_unet_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    shutil.copytree(wave_unet_bundle, target)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    model = load_model("wave-unet-16k", seed=1)
    right = family.gpu_form

    def wrong(network: torch.nn.Module) -> torch.nn.Module:
        fp16 = right(network)
        scale_one_weight(fp16, 3.0)
        return fp16

    monkeypatch.setattr(family, "gpu_form", wrong)
    with pytest.raises(CheckFailed, match=r"core\.fp16\.onnx.* at least 45 dB needed"):
        add_fp16_core(model, target)
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before


def test_inline_has_no_fp16_form(tmp_path: Path) -> None:
    model = load_model("wave-unet-16k", seed=0)
    with pytest.raises(UserError, match="leave out --fp16"):
        export_onnx(model, tmp_path / "out", stft="inline", fp16=True)


def test_random_weights_are_the_same_for_the_same_seed() -> None:
    def first_weight(model: LoadedModel) -> torch.Tensor:
        return next(model.network.parameters())

    one, again, two = (load_model("wave-unet-16k", seed=seed) for seed in (1, 1, 2))
    torch.testing.assert_close(first_weight(one), first_weight(again), rtol=0, atol=0)
    assert not torch.equal(first_weight(one), first_weight(two))


def test_a_bundle_with_a_streaming_core(tmp_path: Path) -> None:
    model = load_model("wave-unet-16k", seed=1)
    options = StreamingOptions(chunk=3)
    bundle = export_onnx(model, tmp_path / "out", fp16=True, streaming=options)
    assert [(entry.path, entry.role) for entry in bundle.manifest.files] == [
        ("core.onnx", "core"),
        ("core.fp16.onnx", "core"),
        ("core.streaming.onnx", "core_streaming"),
        ("core.streaming.fp16.onnx", "core_streaming"),
        ("parity.npz", "parity"),
    ]
    entry, fp16 = bundle.manifest.files[2:4]
    assert entry.streaming is not None
    assert entry.streaming.chunk == 3 * 64
    properties = onnx.load(bundle.path / entry.path).metadata_props
    assert {p.key: p.value for p in properties}["weights"] == "seed 1"
    parity = bundle.manifest.parity
    compared = {r.case: r.passed for r in parity if r.artifact == entry.path}
    whole_streams = {
        "streaming.109-frames": True,  # 36 calls, and one that is not full
        "streaming.54-frames-batch-2": True,
        "reference.streaming.599-frames": True,
        "reference.streaming.299-frames-batch-3": True,
    }
    assert compared == whole_streams | {
        f"stream.{case}": True for case in ("speech", "short", "whole-calls")
    }

    assert (fp16.precision, fp16.streaming) == ("fp16", entry.streaming)
    compared = {r.case: r.passed for r in parity if r.artifact == fp16.path}
    hard = {f"reference.stream.{name}": True for name in hard_waves(16_000)}
    assert len(hard) == 6
    levels = [f"{db}-dBFS" for db in (-50, -25, 0)]
    rounded = {f"reference.rounded.{name}": True for name in (*levels, "jump")}
    loud = {f"streaming.loud-{factor}": True for factor in (1, 3, 10)}
    assert compared == whole_streams | loud | hard | rounded
    # The loudest that float16 was verified for is ten times full scale; float32 has no limit.
    assert (fp16.input_limit, entry.input_limit) == (pytest.approx(10.0), None)
    assert manifest_file(bundle, "fp32") == entry
    assert manifest_file(bundle, "fp16") == fp16
    assert Denoiser.open(bundle).session.entry.role == "core"


def manifest_file(bundle: Bundle, precision: Precision) -> FileEntry | None:
    return bundle.manifest.file("core_streaming", "onnx", precision)


def test_a_fp16_streaming_core_is_added_to_a_bundle(tmp_path: Path) -> None:
    model = load_model("wave-unet-16k", seed=1)
    plain = export_onnx(model, tmp_path / "out")
    with pytest.raises(UserError, match="no streaming core in this bundle; run: frcrn-export onnx"):
        add_fp16_streaming_core(model, plain.path)
    streaming = StreamingOptions(chunk=2)
    export_onnx(model, plain.path, streaming=streaming, force=True)
    fp16 = manifest_file(add_fp16_streaming_core(model, plain.path), "fp16")
    assert fp16 is not None
    assert fp16.streaming is not None
    assert fp16.streaming.chunk == 2 * 64
    weights = [w for w in onnx.load(plain.path / fp16.path).graph.initializer if len(w.dims) > 1]
    assert {w.data_type for w in weights} == {onnx.TensorProto.FLOAT16}
    with pytest.raises(UserError, match="add --force"):
        add_fp16_streaming_core(model, plain.path)


def test_a_streaming_core_that_is_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("wave-unet-16k", seed=1)
    right = family.streaming

    def wrong(network: torch.nn.Module, *options: Any) -> StreamingCore:
        core = right(network, *options)
        scale_one_weight(core.module, 1.01)
        return core

    monkeypatch.setattr(family, "streaming", wrong)
    with pytest.raises(CheckFailed, match=r"core\.streaming\.onnx, .*streaming"):
        export_onnx(model, tmp_path / "out", streaming=StreamingOptions())
    assert list(tmp_path.iterdir()) == []


def test_inline_has_no_streaming_form(tmp_path: Path) -> None:
    model = load_model("wave-unet-16k", seed=0)
    with pytest.raises(UserError, match="leave out --streaming or --stft inline"):
        export_onnx(model, tmp_path / "out", stft="inline", streaming=StreamingOptions())
