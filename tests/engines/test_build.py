"""Real builds with TensorRT-RTX, which need no GPU."""

import errno
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from frcrn_export.engines.build import BuiltEngine, build_plan, read_source, save_timing_cache
from frcrn_export.engines.build_log import BuildError
from frcrn_export.runtime.bundle.layer_report import OnnxNode, census, quantized_nodes
from frcrn_export.runtime.bundle.manifest import Profile
from frcrn_export.runtime.errors import BackendError, UserError
from tests.engines.tiny import BINS, PROFILE, options, tiny_core, tiny_int8_core, tiny_model


def test_a_full_disk_leaves_the_cache_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "timings.cache"
    save_timing_cache(b"before", cache)

    def full(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"timings\.cache: No space left on device: .* not written"):
        save_timing_cache(b"after", cache)
    assert cache.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [cache]


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="choose another --timing-cache"):
        save_timing_cache(b"data", tmp_path / "file" / "timings.cache")


def test_reads_a_core_with_the_types_of_its_nodes(tmp_path: Path) -> None:
    path = tiny_core(tmp_path / "core.onnx")
    source = read_source(path)
    assert source.model == path.read_bytes()
    assert source.input == "spec"
    conv = OnnxNode(op_type="Conv", dtype="Half", is_weighted=True, channels=(2, 8))
    assert source.nodes["node_conv2d"] == conv
    assert source.nodes["to_float"] == OnnxNode(op_type="Cast", dtype="Float")
    assert source.nodes["node_mul"] == OnnxNode(op_type="Mul", dtype="Float")


def test_knows_what_the_file_quantizes(tmp_path: Path) -> None:
    source = read_source(tiny_int8_core(tmp_path / "core.int8.onnx"))
    assert [name for name, node in source.nodes.items() if node.quantized] == ["node_conv2d_1"]


def test_a_folder_a_missing_file_and_garbage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.onnx: cannot be read as ONNX .No such file"):
        read_source(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match="Is a directory"):
        read_source(tmp_path)
    for data, reason in [(b"PK\x03\x04 no", "cannot be read as ONNX"), (b"", "without nodes")]:
        path = tmp_path / "bad.onnx"
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"bad\.onnx: .*{reason}.*; give a core"):
            read_source(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tiny_core(tmp_path / "core.onnx")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"core\.onnx: "):
        read_source(path)


SECOND = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1])
LOOP = helper.make_node("Scan", ["a"], ["b"], "node_scan", num_scan_inputs=1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input_name": "image"}, "its input is 'image', a core's is spec or wave"),
        ({"extra_inputs": (SECOND,)}, "2 inputs and 1 outputs where a core has one of each"),
        ({"output_type": TensorProto.FLOAT16}, "enhanced is not float32"),
        ({"extra_nodes": (LOOP,)}, "node 'node_scan' is a Scan, which a core does not have"),
    ],
)
def test_refuses_what_is_not_a_core(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    path = tiny_core(tmp_path / "other.onnx", **changes)
    with pytest.raises(UserError, match=reason) as caught:
        read_source(path)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def test_refuses_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "core.onnx"
    onnx.save(tiny_model(), path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(UserError, match="its weights lie in another file"):
        read_source(path)


def test_without_onnx_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendError, match=r'pip install "frcrn-export\[export\]"'):
        read_source(tmp_path / "core.onnx")


@pytest.fixture(scope="module")
def fp16_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_core(tmp_path_factory.mktemp("fp16") / "core.fp16.onnx")


@pytest.fixture(scope="module")
def fp16_engine(fp16_core: Path) -> BuiltEngine:
    return build_plan(fp16_core, options())


def test_engine_and_everything_about_it(fp16_engine: BuiltEngine) -> None:
    assert fp16_engine.plan[1:4] == b"trt"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", fp16_engine.version)
    assert fp16_engine.cuda >= 12
    assert 0 < fp16_engine.seconds < 600
    assert "[VERBOSE] Layers:" in fp16_engine.log
    spec, enhanced = fp16_engine.layers.io
    assert (spec.name, spec.mode, spec.dtype, spec.dims) == (
        "spec", "input", "Float", (-1, 2, BINS, -1),
    )  # fmt: skip
    assert spec.profile == PROFILE
    assert (enhanced.name, enhanced.mode, enhanced.dtype) == ("enhanced", "output", "Float")
    assert fp16_engine.layers.activation_bytes is not None
    assert fp16_engine.layers.weights_bytes is not None
    assert fp16_engine.layers.weights_bytes > 0


def test_convolutions_run_in_fp16_and_the_mask_in_float(fp16_engine: BuiltEngine) -> None:
    counts = census(fp16_engine.layers)
    assert counts["Conv"] == {"Half": 2}
    assert counts["LeakyRelu"] == {"Half": 1}
    assert counts["Mul"] == {"Float": 1}


def test_float32_core_gives_a_float_engine(tmp_path: Path) -> None:
    core = tiny_core(tmp_path / "core.onnx", fp16=False)
    built = build_plan(core, options(tf32=False))
    assert census(built.layers)["Conv"] == {"Float": 2}


def test_quantized_convolutions_run_in_int8(tmp_path: Path) -> None:
    built = build_plan(tiny_int8_core(tmp_path / "core.int8.onnx"), options())
    assert census(built.layers)["Conv"] == {"Half": 1, "Int8": 1}
    assert quantized_nodes(built.layers) == {"node_conv2d_1": "Int8"}
    # With one weight scale the convolution itself makes float16 of its sums.
    (layer,) = (x for x in built.layers.layers if [t.dtype for t in x.inputs] == ["Int8"])
    assert [tensor.dtype for tensor in layer.outputs] == ["Half"]


def test_where_the_builder_runs_them_in_half_that_is_seen(tmp_path: Path) -> None:
    core = tiny_int8_core(tmp_path / "core.int8.onnx")
    built = build_plan(core, options(gpu="rtx2080ti"))
    assert census(built.layers)["Conv"] == {"Half": 2}
    assert quantized_nodes(built.layers) == {"node_conv2d_1": "Half"}


def test_quantized_convolutions_run_in_fp8(tmp_path: Path) -> None:
    built = build_plan(tiny_int8_core(tmp_path / "core.onnx", "fp8"), options())
    assert quantized_nodes(built.layers) == {"node_conv2d_1": "FP8"}


@pytest.mark.parametrize("name", ["rtx2080ti", "a100", "rtx3090", "rtx5090", "gb10"])
def test_builds_for_every_sm_that_rtx_serves(fp16_core: Path, name: str) -> None:
    built = build_plan(fp16_core, options(gpu=name))
    assert census(built.layers)["Conv"] == {"Half": 2}


@pytest.mark.parametrize("names", ["rtx3090,rtx4090,rtx5090", "ampere+", "t4,4090"])
def test_one_engine_for_several_sms_is_hardly_larger(
    fp16_core: Path, fp16_engine: BuiltEngine, names: str
) -> None:
    asked = options(gpu=names)
    built = build_plan(fp16_core, asked)
    assert built.layers.sms == asked.targets.sms
    assert len(built.layers.sms) > 1
    assert census(built.layers)["Conv"] == {"Half": 2}
    assert len(built.plan) < 1.1 * len(fp16_engine.plan)


def test_engines_for_two_sms_differ(fp16_core: Path, fp16_engine: BuiltEngine) -> None:
    other = build_plan(fp16_core, options(gpu="rtx2080ti"))
    assert other.plan != fp16_engine.plan


def test_reports_progress(fp16_core: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    build_plan(fp16_core, options(), lambda *step: seen.append(step))
    phases = {phase for phase, _, _ in seen}
    assert "Building engine" in phases
    for phase in phases:
        steps = [(done, total) for name, done, total in seen if name == phase]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1] > 0


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """As in a terminal; a shell starts its background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_stops_the_builder(fp16_core: Path) -> None:
    seen: list[str] = []

    def interrupt(phase: str, done: int, total: int) -> None:
        seen.append(phase)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        if len(seen) >= 3:
            time.sleep(0.02)  # steps go on until the main thread has heard the signal

    with pytest.raises(KeyboardInterrupt):
        build_plan(fp16_core, options(), interrupt)
    complete: list[str] = []
    build_plan(fp16_core, options(), lambda phase, done, total: complete.append(phase))
    assert len(seen) < len(complete)


def test_an_error_of_the_progress_callback_is_not_lost(fp16_core: Path) -> None:
    def fail(phase: str, done: int, total: int) -> None:
        raise ValueError("the terminal went away")

    with pytest.raises(ValueError, match="the terminal went away"):
        build_plan(fp16_core, options(), fail)


def test_parser_s_reason_and_node(tmp_path: Path) -> None:
    core = tiny_core(tmp_path / "core.onnx", broken_channels=1)
    with pytest.raises(BuildError) as caught:
        build_plan(core, options())
    message = str(caught.value)
    assert message.startswith(f"{core}: not parsed: node 'node_conv2d' (Conv): ")
    assert "Kernel weight dimension failed to broadcast to input" in message
    assert len(message.splitlines()) == 1
    assert "While parsing node number" in caught.value.log


def test_mixed_types_are_named_without_source_places(tmp_path: Path) -> None:
    core = tmp_path / "core.onnx"
    import onnx
    from onnx import helper

    model = onnx.load(tiny_core(core))
    model.graph.node.remove(next(n for n in model.graph.node if n.name == "to_float"))
    next(n for n in model.graph.node if n.name == "node_mul").input[0] = "conv_1"
    helper.set_model_props(model, {"sample_rate": "16000"})
    onnx.save(model, core)
    with pytest.raises(BuildError, match=r"'node_mul' \(Mul\): .* must have same input types") as e:
        build_plan(core, options())
    assert "/_src/" not in str(e.value)
    assert "cuda" not in str(e.value).lower()


@pytest.mark.parametrize(
    ("changes", "reason", "advice"),
    [
        (
            {"profile": Profile(min=(1, 2, 60, 1), opt=(1, 2, 60, 1), max=(1, 2, 60, 1))},
            r"profile has min=60, opt=60, max=60 but tensor has 65",
            "change --batch, --frames or --samples",
        ),
        (
            {"profile": Profile(min=(1, 2, 65, 9), opt=(1, 2, 65, 8), max=(1, 2, 65, 9))},
            r"satisfy MIN<=OPT<=MAX",
            "change --batch, --frames or --samples",
        ),
        ({"workspace_bytes": 16}, "within workspace limit", "give more --workspace"),
    ],
)
def test_builder_s_reason_and_what_to_try(
    fp16_core: Path, changes: dict[str, object], reason: str, advice: str
) -> None:
    with pytest.raises(BuildError, match=rf"{fp16_core}: not built: .*{reason}.*; {advice}") as e:
        build_plan(fp16_core, options(**changes))  # type: ignore[arg-type]
    assert len(str(e.value).splitlines()) == 1
    assert "/_src/" not in str(e.value)
    assert e.value.exit_code == 2


def test_the_source_is_checked_before_the_builder_starts(tmp_path: Path) -> None:
    core = tiny_core(tmp_path / "core.onnx", fp16=False, output_type=TensorProto.INT64)
    with pytest.raises(UserError, match="enhanced is not float32"):
        build_plan(core, options())


def test_out_of_memory_is_one_line(fp16_core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorrt_rtx

    def exhausted(logger: object) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(tensorrt_rtx, "Builder", exhausted)
    with pytest.raises(UserError, match="out of memory; close other programs"):
        build_plan(fp16_core, options())
