import shutil
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from frcrn_export.exporters.layer_parity import check_layers
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BundleError, UserError
from tests.bundles import write_bundle
from tests.int8_bundles import add_int8
from tests.runtime.verify.test_parity import rewrite_manifest

NAMES = [
    "analysis",
    "layers.encoder.0",
    "layers.encoder.1",
    *(f"layers.context.{i}" for i in range(3)),
    "layers.decoder.0",
    "layers.out",
    "synthesis",
]


@pytest.fixture
def copied(small_wave_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_wave_bundle.path, tmp_path / "b"))


def scale_weight(path: Path, name: str, factor: float) -> None:
    """Multiply a weight of an ONNX file in a bundle."""
    model = onnx.load(path)
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), name))
    onnx.save(model, path)
    rewrite_manifest(path.parent)


def test_all_float16_files_offline_and_streaming(small_wave_bundle: Bundle) -> None:
    offline, stream = check_layers(small_wave_bundle)
    assert (offline.artifact, offline.reference) == ("core.fp16.onnx", "core.onnx")
    assert (offline.case, stream.case) == ("core.49-frames", "streaming.289-frames")
    assert stream.artifact, stream.reference == (
        "core.streaming.fp16.onnx",
        "core.streaming.onnx",
    )
    for report in (offline, stream):
        assert [each.layer.removeprefix("layers.") for each in report.layers] == [
            name.removeprefix("layers.") for name in NAMES
        ]
        assert all(55 < layer.snr_db < 80 for layer in report.layers)
        assert 55 < report.output.snr_db < 80
        assert report.output.passed
        assert (report.unmatched, report.further) == ((), ())
        assert "rounded" in report.remark


@pytest.mark.parametrize("name", ["layers.context.1", "context.1"])
def test_the_largest_drop_is_where_the_error_is(copied: Path, name: str) -> None:
    file = "core.fp16.onnx" if "." in name.removeprefix("context.") else "core.streaming.fp16.onnx"
    scale_weight(copied / file, f"{name}.weight", 1.1)
    reports = {report.artifact: report for report in check_layers(open_bundle(copied))}
    report = reports.pop(file)
    assert report.worst is not None
    assert report.worst.layer == name
    assert 15 < report.worst.snr_db < 40
    behind = [layer for layer in report.layers if layer.layer.endswith("context.2")]
    assert behind[0].snr_db < 45
    assert all(layer.snr_db > 50 for other in reports.values() for layer in other.layers)


def test_int8_for_tensorrt(copied: Path) -> None:
    add_int8(copied)
    (report,) = check_layers(open_bundle(copied), "int8")
    assert (report.artifact, report.reference) == ("core.int8.onnx", "core.onnx")
    assert len(report.layers) >= 6
    assert all(15 < layer.snr_db < 80 for layer in report.layers)
    # Transposed convolutions have become convolutions, with other outputs.
    assert set(report.unmatched) <= {"layers.decoder.0", "layers.out", "synthesis"}


def test_a_form_of_its_own_is_compared_with_itself_in_float32(copied: Path) -> None:
    """As a family's form for GPUs, which has no layer of `core.onnx`."""
    model = onnx.load(copied / "core.fp16.onnx")
    for node in model.graph.node:
        del node.metadata_props[:]
        node.name = f"{node.name}.gpu"
        node.input[:] = [f"gpu.{name}" if name not in ("wave", "") else name for name in node.input]
        node.output[:] = [f"gpu.{n}" if n != "enhanced" else n for n in node.output]
    for tensor in model.graph.initializer:
        tensor.name = f"gpu.{tensor.name}"
    del model.graph.value_info[:]
    onnx.save(model, copied / "core.fp16.onnx")
    rewrite_manifest(copied)
    offline, _ = check_layers(open_bundle(copied))
    assert offline.reference == "core.fp16.onnx computed in float32"
    assert len(offline.layers) == len(NAMES)
    assert all(55 < layer.snr_db < 80 for layer in offline.layers)


def test_float32_files_where_they_are_asked_for(small_wave_bundle: Bundle) -> None:
    offline, stream = check_layers(small_wave_bundle, "fp32")
    assert offline.worst is stream.worst is None
    assert {layer.snr_db for layer in offline.layers} == {300}


def test_nothing_to_compare(copied: Path) -> None:
    bundle = open_bundle(copied)
    with pytest.raises(UserError, match=r"no int8 core as ONNX .* run: frcrn-export calibrate "):
        check_layers(bundle, "int8")
    (copied / "core.fp16.onnx").write_bytes(b"\x12\x34")
    rewrite_manifest(copied)
    with pytest.raises(BundleError, match="not an ONNX graph that can be compared"):
        check_layers(open_bundle(copied))


@pytest.mark.parametrize("precision", [None, "fp16", "int8", "fp8"])
def test_what_makes_a_core_to_compare(tmp_path: Path, precision: Precision | None) -> None:
    root = write_bundle(tmp_path / "b")
    with pytest.raises(UserError) as caught:
        check_layers(open_bundle(root), precision)
    said = str(caught.value)
    if precision in (None, "fp16"):
        assert "run: frcrn-export onnx " in said
        assert " --fp16 -o NEW_BUNDLE" in said
    else:
        kind = " --fp8" * (precision == "fp8")
        assert f"run: frcrn-export calibrate {root} --for rtx4090d{kind} --calib FOLDER" in said
