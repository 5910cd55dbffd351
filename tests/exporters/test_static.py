"""`core.static.onnx`: the core for inputs of one shape, which other toolchains take."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from frcrn_export.cli import cli
from frcrn_export.exporters.bundle import export_onnx
from frcrn_export.exporters.graphs import StaticShape, check_static
from frcrn_export.exporters.loading import load_model
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.verify.parity import check_bundle
from tests.bundles import write_bundle

SHAPE = StaticShape(batch=2, length=2_048)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("static") / "bundle"
    return export_onnx(load_model("wave-unet-16k", seed=1), path, static=SHAPE)


def test_all_shapes_are_numbers_and_nothing_computes_them(bundle: Bundle) -> None:
    entry = bundle.manifest.file("core_static", "onnx")
    assert entry is not None
    assert (entry.path, entry.inputs[0].shape) == ("core.static.onnx", (2, 1, 2_048))
    graph = onnx.shape_inference.infer_shapes(onnx.load(bundle.file(entry))).graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"Shape", "Gather", "ConstantOfShape", "Range", "Expand", "Identity"}


def test_it_equals_the_core_and_parity_looks_at_it(bundle: Bundle) -> None:
    wave = np.random.default_rng(0).standard_normal((2, 1, 2_048)).astype(np.float32)
    outputs = [
        onnxruntime.InferenceSession(bundle.path / name).run(None, {"wave": wave})[0]
        for name in ("core.onnx", "core.static.onnx")
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)
    static = [result for result in check_bundle(bundle) if result.artifact == "core.static.onnx"]
    assert [(each.case, each.passed) for each in static] == [("core_static.2048-by-2", True)]
    assert any(each.artifact == "core.static.onnx" for each in bundle.manifest.parity)


def test_the_runtime_runs_the_other_core_and_the_export_is_repeated_with_it(
    bundle: Bundle,
) -> None:
    assert Denoiser.open(bundle).session.entry.path == "core.onnx"
    assert "--static 2 2048 -o NEW_BUNDLE" in export_again(bundle.manifest)
    shown = CliRunner().invoke(cli, ["inspect", str(bundle.path)])
    assert (shown.exit_code, "core.static.onnx" in shown.output) == (0, True)


def test_a_length_that_the_core_does_not_take() -> None:
    wave = load_model("wave-unet-16k", seed=1)
    with pytest.raises(UserError, match=r"takes multiples of \d+ samples, not 1001; take --static"):
        check_static(wave, StaticShape(1, 1_001))
    segments = load_model("wave-unet-12x24", seed=1)
    with pytest.raises(UserError, match=r"segments of 16384 samples, not 16000; .* 3 16384"):
        check_static(segments, StaticShape(3, 16_000))


def test_it_has_no_inline_form(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out --static or --stft inline"):
        loaded = load_model("wave-unet-16k", seed=1)
        export_onnx(loaded, tmp_path / "new", stft="inline", static=SHAPE)
    assert not (tmp_path / "new").exists()


def test_a_bundle_without_one_is_exported_again_without_it(tmp_path: Path) -> None:
    assert "--static" not in export_again(open_bundle(write_bundle(tmp_path / "b")).manifest)
