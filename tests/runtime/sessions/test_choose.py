import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import Precision, Target, TensorrtBackend
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, sha256_of
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.choose import (
    choose_engine,
    choose_streaming_engine,
    engine_entries,
)
from frcrn_export.runtime.sessions.long import SessionByLength
from frcrn_export.runtime.sessions.registry import artifact, open_session
from frcrn_export.runtime.sessions.tensorrt_backends import TENSORRT_BACKENDS
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.multi import MultiStream
from frcrn_export.runtime.streaming.session import open_stream_session
from tests.bundles import (
    STFT,
    GainSession,
    core_entry,
    frcrn_segments,
    leave_out,
    manifest,
    write_bundle,
    write_gain_onnx,
    write_manifest,
)
from tests.int8_standins import add_int8, scaled
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle


def with_engines(
    path: Path, *engines: tuple[TensorrtBackend, str, int], **changes: object
) -> Bundle:
    """A bundle with engines of these backends, precisions and SMs."""
    root = write_bundle(path)
    for backend, precision, sm in engines:
        shapes = {"low": (1, 1, 1), "best": (1, 1, 10), "high": (1, 1, 1000)}
        add_engine(root, backend, precision=precision, sm=sm, **{**shapes, **changes})
    return open_bundle(root)


def chosen(bundle: Bundle, backend: TensorrtBackend = "tensorrt") -> str | None:
    entry = choose_engine(bundle, backend)
    return entry and entry.path


def test_fp16_for_this_gpu_is_chosen(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = with_engines(
        tmp_path / "bundle",
        ("tensorrt", "fp16", 120),
        ("tensorrt-rtx", "fp16", 89),
        ("tensorrt", "int8", 89),
        ("tensorrt", "fp32", 89),
        ("tensorrt", "fp16", 89),
    )
    assert chosen(bundle) == "core.fp16.sm89.tensorrt.engine"
    assert chosen(bundle, "tensorrt-rtx") == "core.fp16.sm89.tensorrt-rtx.engine"
    gpu.capability = (12, 0)
    assert chosen(bundle) == "core.fp16.sm120.tensorrt.engine"


def test_an_engine_for_this_gpu_comes_before_a_compatible_one(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    root = with_engines(
        tmp_path / "bundle", ("tensorrt", "fp16", 80), hardware_compatible=True
    ).path
    assert chosen(open_bundle(root)) == "core.fp16.sm80.tensorrt.engine"
    add_engine(root, "tensorrt", low=(1, 1, 1), best=(1, 1, 10), high=(1, 1, 1000))
    assert chosen(open_bundle(root)) == "core.fp16.sm89.tensorrt.engine"


def test_int8_is_never_chosen(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = with_engines(tmp_path / "bundle", ("tensorrt", "int8", 89))
    assert chosen(bundle) is None
    with pytest.raises(BackendError) as caught:
        open_session(bundle, "tensorrt")
    assert str(caught.value) == (
        f"{bundle.path}: no engine file in this bundle for tensorrt; "
        f"run: frcrn-export trt {bundle.path} --fp16 --gpu auto --backend tensorrt"
    )


def test_engines_of_other_gpus_are_listed_only_if_none_fits(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    bundle = with_engines(tmp_path / "bundle", ("tensorrt", "fp16", 89), ("tensorrt", "fp16", 120))
    for capability, sms in [((8, 9), [89]), ((12, 0), [120]), ((7, 5), [89, 120])]:
        gpu.capability = capability
        entries = engine_entries(bundle, "tensorrt")
        assert [entry.engine.sms[0] for entry in entries if entry.engine] == sms


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_a_bundle_without_an_engine_says_how_to_add_one(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    bundle = with_engines(tmp_path / "bundle")
    with pytest.raises(BackendError) as caught:
        open_session(bundle, backend)
    assert str(caught.value).endswith(
        f"run: frcrn-export trt {bundle.path} --fp16 --gpu auto --backend {backend}"
    )


def test_auto_prefers_classic_then_rtx_then_the_processor(
    gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_engines(
        tmp_path / "bundle", ("tensorrt-rtx", "fp16", 89), ("tensorrt", "fp16", 89)
    )
    assert open_session(bundle).backend == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert open_session(bundle).backend == "tensorrt-rtx"
    gpu.capability = (12, 0)
    assert open_session(bundle).backend == "onnxruntime"
    gpu.capability = (8, 9)
    gpu.driver_cuda = 12080
    assert open_session(bundle).backend == "onnxruntime"


def test_auto_without_engines_does_not_look_for_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise AssertionError("the driver was asked")

    monkeypatch.setattr("frcrn_export.runtime.gpu.load_driver", no_driver)
    assert open_session(with_engines(tmp_path / "bundle")).backend == "onnxruntime"


def test_auto_without_a_gpu_goes_on_to_the_processor(tmp_path: Path) -> None:
    """With the real packages, as far as they are here."""
    bundle = with_engines(
        tmp_path / "bundle", ("tensorrt-rtx", "fp16", 89), ("tensorrt", "fp16", 89)
    )
    session = open_session(bundle)
    assert session.backend == "onnxruntime"
    np.testing.assert_array_equal(session.run(np.ones((1, 1, 8), np.float32)), 1)


def bundle_with(path: Path, *targets: Target) -> Bundle:
    """Doubles in float32, in float16 (said to be) and in INT8 for TensorRT and the processor."""
    root = write_bundle(path, gain=2.0)
    add_int8(root, lambda model: scaled(model, 1.5), precision="fp16")
    for target in targets:
        factor = {"cpu": 2.0, "tensorrt": 2.5}[target]
        add_int8(root, lambda model, factor=factor: scaled(model, factor), target)
    return open_bundle(root)


def gain_of(bundle: Bundle, backend: str = "auto", precision: Precision | None = None) -> float:
    denoiser = Denoiser.open(bundle, backend, 1, precision)
    return float(denoiser(np.ones(16_000, np.float32))[0])


def test_the_precision_that_was_asked_for(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", "tensorrt", "cpu")
    assert gain_of(bundle) == gain_of(bundle, precision="fp32") == 2.0
    assert gain_of(bundle, precision="fp16") == 3.0
    for backend in ("auto", "onnxruntime", "onnxruntime-cpu"):
        assert gain_of(bundle, backend, "int8") == 4.0  # that for processors


def test_the_other_targets_file_where_there_is_no_own(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", "tensorrt")
    assert gain_of(bundle, precision="int8") == 5.0


def test_gpus_get_the_file_for_tensorrt(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", "cpu", "tensorrt")
    for backend, target in (
        ("onnxruntime", "cpu"),
        ("onnxruntime-cpu", "cpu"),
        ("onnxruntime-cuda", "tensorrt"),
        ("onnxruntime-tensorrt", "tensorrt"),
    ):
        entry = artifact(bundle, backend, "int8")
        assert entry is not None
        assert entry.path == f"core.int8.{target}.onnx"


def test_what_is_for_processors_runs_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    tried: list[list[str]] = []
    real = onnxruntime.InferenceSession

    def opened(path: str, options: object, providers: list[str], **more: object) -> object:
        tried.append(providers)
        return real(path, options, providers=["CPUExecutionProvider"])

    available = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    bundle = bundle_with(tmp_path / "b", "cpu")
    assert open_session(bundle, "onnxruntime", 1, "int8").device == "cpu"
    assert tried == [["CPUExecutionProvider"]]
    open_session(bundle, "onnxruntime", 1)
    assert tried[1][0] == "TensorrtExecutionProvider"


def test_a_missing_file_says_the_command_that_makes_it(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "a b"))
    command = f"frcrn-export calibrate '{tmp_path}/a b' --for cpu --calib FOLDER"
    for backend, name in (("auto", "onnxruntime"), ("onnxruntime-cpu", "onnxruntime-cpu")):
        with pytest.raises(BackendError) as caught:
            Denoiser.open(bundle, backend, precision="int8")
        assert str(caught.value) == (
            f"{tmp_path}/a b: no int8 file in this bundle for {name}; run: {command}"
        )
    with pytest.raises(BackendError, match=r"no fp16 file .*; run: .* --fp16 -o NEW_BUNDLE$"):
        Denoiser.open(bundle, precision="fp16")
    with pytest.raises(BackendError, match="torchscript runs in fp32 and offline; take --backend"):
        Denoiser.open(bundle, "torchscript", precision="int8")


def test_fp8_runs_on_processors_too(tmp_path: Path) -> None:
    """There is one file, that for TensorRT."""
    root = write_bundle(tmp_path / "b")
    with pytest.raises(BackendError) as caught:
        Denoiser.open(root, precision="fp8")
    assert str(caught.value) == (
        f"{root}: no fp8 file in this bundle for onnxruntime; run: frcrn-export calibrate {root} "
        "--for rtx4090d --fp8 --calib FOLDER"
    )
    add_int8(root, lambda model: scaled(model, 2.5), "tensorrt", precision="fp8")
    bundle = open_bundle(root)
    whole = gain_of(bundle)
    assert gain_of(bundle, precision="fp8") == gain_of(bundle, "onnxruntime-cpu", "fp8")
    assert gain_of(bundle, precision="fp8") == 2.5 * whole


def test_a_missing_streaming_file(tmp_path: Path) -> None:
    bundle = open_bundle(write_streaming_bundle(tmp_path / "b", Core()))
    with pytest.raises(BackendError) as caught:
        StreamingDenoiser.open(bundle, precision="int8")
    assert str(caught.value) == (
        f"{tmp_path}/b: no streaming int8 file in this bundle for onnxruntime; run: "
        f"frcrn-export calibrate {tmp_path}/b --for cpu --calib FOLDER --streaming"
    )
    offline = open_bundle(write_bundle(tmp_path / "c"))
    with pytest.raises(BackendError, match="run: frcrn-export onnx .* --streaming -o NEW_BUNDLE"):
        StreamingDenoiser.open(offline, precision="int8")


def test_int8_alone_is_named_where_it_was_not_asked_for(tmp_path: Path) -> None:
    """In a bundle that was packed for it."""
    for name, source, root in (
        ("core.int8.cpu.onnx", "core.onnx", write_bundle(tmp_path / "a")),
        (
            "core.streaming.int8.cpu.onnx",
            "core.streaming.onnx",
            write_streaming_bundle(tmp_path / "b", Core(chunk=4), stft=None),
        ),
    ):
        add_int8(root, lambda model: scaled(model, 3.0), source=source)
        leave_out(root, source)
        opener = open_stream_session if "streaming" in name else open_session
        with pytest.raises(BackendError, match=f"{name} runs only .* add --precision int8"):
            opener(open_bundle(root))
        assert opener(open_bundle(root), precision="int8").entry.path == name


def test_engines_alone_run_or_say_why_not(gpu: SimulatedGpu, tmp_path: Path) -> None:
    """In a bundle that was packed for a GPU."""
    roots = (
        write_bundle(tmp_path / "a"),
        write_streaming_bundle(tmp_path / "b", Core(chunk=4), stft=None),
    )
    for root, opener in zip(roots, (open_session, open_stream_session), strict=True):
        (source,) = open_bundle(root).manifest.files
        shape = (1, 1, 4)
        for sm in (89, 75):
            other = Path(shutil.copytree(root, tmp_path / f"{root.name}-{sm}"))
            add_engine(other, low=shape, best=shape, high=shape, sm=sm)
            leave_out(other, source.path)
            if sm == 89:
                assert opener(open_bundle(other)).backend == "tensorrt"
            else:
                with pytest.raises(BackendError, match=r"7\.5"):
                    opener(open_bundle(other))


@pytest.mark.parametrize("opener", [open_session, open_stream_session])
def test_a_precision_that_does_not_exist(tmp_path: Path, opener: object) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b"))
    with pytest.raises(UserError, match="precision='int4'; there are: fp32, fp16, int8, fp8"):
        opener(bundle, precision="int4")  # type: ignore[operator]


def test_streams_in_int8(tmp_path: Path) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core(chunk=4), stft=None)
    add_int8(root, lambda model: scaled(model, 3.0), source="core.streaming.onnx")
    wave = np.ones(8, np.float32)
    np.testing.assert_array_equal(StreamingDenoiser.open(root).process(wave), 1)
    denoiser = StreamingDenoiser.open(root, precision="int8")
    np.testing.assert_array_equal(denoiser.process(wave), 3)
    many = MultiStream.open(root, precision="int8")
    np.testing.assert_array_equal(many.process({many.add(): wave})[0], 3)


def test_windows_in_int8(tmp_path: Path) -> None:
    root = bundle_with(tmp_path / "b", "cpu").path
    denoiser = StreamingDenoiser.open(root, windowed=True, precision="int8")
    done = np.concatenate([denoiser.process(np.ones(16_000, np.float32)), denoiser.flush()])
    np.testing.assert_allclose(done[4_000:], 4, rtol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_engines_of_8_bits_have_to_be_asked_for(
    gpu: SimulatedGpu, tmp_path: Path, precision: Precision
) -> None:
    root = bundle_with(tmp_path / "b", "cpu").path
    shapes = {"low": (1, 1, 1), "best": (1, 1, 10), "high": (1, 1, 100_000)}
    add_engine(root, "tensorrt", precision=precision, **shapes)
    bundle = open_bundle(root)
    assert choose_engine(bundle, "tensorrt") is None
    assert open_session(bundle, precision=precision).backend == "tensorrt"
    assert open_session(bundle).backend == "onnxruntime"
    assert open_session(bundle, precision="fp16").backend == "onnxruntime"
    assert choose_streaming_engine(bundle, "tensorrt", 1, precision) is None
    with pytest.raises(
        BackendError, match=f"--{precision} --calib FOLDER --gpu auto --backend tensorrt-rtx$"
    ):
        open_session(bundle, "tensorrt-rtx", precision=precision)


def test_without_a_gpu_int8_is_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert gain_of(bundle_with(tmp_path / "b", "cpu"), precision="int8") == 4.0


ABOVE = 100  # frames: 2 s


@pytest.fixture
def long_root(tmp_path: Path) -> Path:
    """core.long.onnx triples, where the core doubles and its INT8 form gives four times as much."""
    root = write_bundle(tmp_path / "b", manifest(stft=STFT), gain=2.0)
    entry = core_entry(STFT, path="core.long.onnx", role="core_long")
    write_gain_onnx(root / entry.path, entry, 3.0)
    described = open_bundle(root).manifest
    long_entry = msgspec.structs.replace(
        entry,
        above_frames=ABOVE,
        sha256=sha256_of(root / entry.path),
        bytes=(root / entry.path).stat().st_size,
    )
    write_manifest(root, msgspec.structs.replace(described, files=(*described.files, long_entry)))
    add_int8(root, lambda model: scaled(model, 2.0))
    return root


def test_int8_stays_int8_however_long_it_takes(long_root: Path) -> None:
    session = open_session(open_bundle(long_root), threads=1, precision="int8")
    assert not isinstance(session, SessionByLength)
    for seconds in (1, 3, 9):
        wave = np.ones(16_000 * seconds, np.float32)
        for precision, gain in (("fp32", 2 if seconds == 1 else 3), ("int8", 4)):
            done = Denoiser.open(long_root, threads=1, precision=precision)(wave)
            np.testing.assert_allclose(done[640:-640], gain, rtol=1e-4)


def test_its_memory_is_bounded(long_root: Path) -> None:
    described = open_bundle(long_root).manifest
    int8 = described.file("core", "onnx", "int8", "cpu")
    assert int8 is not None

    def longest(session: GainSession, seconds: int) -> int:
        source = Denoiser(described, session)
        source(np.ones(16_000 * seconds, np.float32))
        return max(shape[-1] for shape in session.shapes)

    for seconds, frames in ((4, 4 * ABOVE), (9, STFT.frames(frcrn_segments().length))):
        assert longest(GainSession(int8), seconds) <= frames
    assert longest(GainSession(int8), 4) > ABOVE
    assert longest(GainSession(int8, device="cuda"), 9) > 4 * ABOVE
    assert longest(GainSession(described.files[0]), 9) > 4 * ABOVE


@pytest.mark.parametrize("stream", [False, True])
def test_what_runs_instead_of_an_engine_is_said_once(
    gpu: SimulatedGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    pytest.importorskip("onnxruntime")
    if stream:
        root = write_streaming_bundle(tmp_path / "b", Core(chunk=4), stft=None)
        shapes = {"low": (1, 1, 4), "best": (1, 1, 4), "high": (1, 1, 4)}
    else:
        root = write_bundle(tmp_path / "b")
        shapes = {"low": (1, 1, 1), "best": (1, 1, 10), "high": (1, 1, 1000)}
    add_engine(root, sm=75, **shapes)
    add_engine(root, "tensorrt-rtx", sm=86, **shapes)
    bundle = open_bundle(root)

    def opened(precision: Precision | None = None) -> str:
        caplog.clear()
        if stream:
            return open_stream_session(bundle, precision=precision).entry.path
        return open_session(bundle, precision=precision).entry.path

    path = opened()
    (warning,) = caplog.messages
    assert warning.startswith(f"{path} runs instead of an engine (fp32, on the processor): ")
    assert "fp16.sm75.tensorrt.engine is for rtx4090d (SM 7.5), this GPU is NVIDIA" in warning
    assert "--gpu auto --backend tensorrt --force" in warning
    opened("fp32")  # no engine is of that precision, none was left out
    assert not caplog.messages
    add_engine(root, **shapes)
    bundle = open_bundle(root)
    assert opened().endswith(".sm89.tensorrt.engine")
    assert not caplog.messages


def test_an_engine_whose_backend_is_not_installed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    bundle = with_engines(tmp_path / "b", ("tensorrt", "fp16", 89))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert open_session(bundle).entry.path == "core.onnx"
    assert len(caplog.messages) == 1
    assert 'tensorrt is not installed; run: pip install "frcrn-export[trt]"' in caplog.text


def test_an_engine_for_one_sm_comes_before_one_for_several(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    root = with_engines(tmp_path / "b", ("tensorrt-rtx", "fp16", 86), sms=(86, 89, 120)).path
    several = chosen(open_bundle(root), "tensorrt-rtx")
    assert several is not None  # SM 8.9 is in its list
    assert open_session(open_bundle(root)).entry.path == several
    add_engine(root, "tensorrt-rtx", low=(1, 1, 1), best=(1, 1, 10), high=(1, 1, 1000))
    assert chosen(open_bundle(root), "tensorrt-rtx") == "core.fp16.sm89.tensorrt-rtx.engine"
