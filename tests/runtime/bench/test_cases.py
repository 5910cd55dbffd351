import shutil
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bench.cases import Wanted, find_cases, speech_of
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError, UserError
from tests.bundles import write_bundle
from tests.int8_standins import add_int8, scaled
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle


def found(bundle: Bundle, **wanted: object) -> set[tuple[str, str, int, int]]:
    cases = find_cases(bundle, Wanted(**wanted)).cases  # type: ignore[arg-type]
    return {(case.entry.path, case.kind, case.threads, case.batch) for case in cases}


def test_what_a_processor_runs(small_wave_bundle: Bundle) -> None:
    rows = found(small_wave_bundle, threads=(1,))
    assert rows == {
        ("core.onnx", "offline", 1, 1),
        ("core.onnx", "core", 1, 1),
        ("core.onnx", "core", 1, 4),
        ("core.streaming.onnx", "hop", 1, 1),
        ("core.streaming.onnx", "hops", 1, 4),
        ("core.streaming.onnx", "hops", 1, 16),
    }


def test_files_for_gpus_are_left_out_unless_asked_for(small_wave_bundle: Bundle) -> None:
    left_out = find_cases(small_wave_bundle, Wanted()).left_out
    assert "--file core.fp16.onnx" in left_out["core.fp16.onnx"]
    rows = found(small_wave_bundle, files=("core.fp16.onnx",), kinds=("offline",), threads=(1,))
    assert rows == {("core.fp16.onnx", "offline", 1, 1)}


def test_torchscript_only_by_name(wave_unet_bundle: Path) -> None:
    bundle = open_bundle(wave_unet_bundle)
    assert "--backend torchscript" in find_cases(bundle, Wanted()).left_out["core.pt"]
    rows = found(bundle, backends=("torchscript",), kinds=("offline",), threads=(2,))
    assert rows == {("core.pt", "offline", 2, 1)}


def test_an_int8_file_for_processors_runs(tmp_path: Path, wave_unet_bundle: Path) -> None:
    root = Path(shutil.copytree(wave_unet_bundle, tmp_path / "b"))
    add_int8(root, lambda model: scaled(model, 1.01))
    assert any(path == "core.int8.cpu.onnx" for path, *_ in found(open_bundle(root)))


def test_engines_on_a_gpu(gpu: SimulatedGpu, tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b")
    add_engine(root, "tensorrt-rtx", low=(1, 1, 320), best=(1, 1, 16_000), high=(8, 1, 64_000))
    rows = found(open_bundle(root))
    engine = {row[1:] for row in rows if row[0].endswith(".engine")}
    assert engine == {("offline", 1, 1), ("core", 1, 1), ("core", 1, 4)}


def test_engines_without_a_gpu(tmp_path: Path) -> None:
    """TensorRT-RTX builds engines where it cannot run them."""
    root = write_bundle(tmp_path / "b")
    add_engine(root, "tensorrt-rtx", low=(1, 1, 320), best=(1, 1, 16_000), high=(8, 1, 64_000))
    left_out = find_cases(open_bundle(root), Wanted()).left_out
    (path,) = (each for each in left_out if each.endswith(".engine"))
    assert left_out[path] == "no backend here runs it; run: frcrn-export doctor"


def test_a_streaming_engine_has_the_rows_it_was_built_with(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=32), stft=None)
    add_engine(root, "tensorrt-rtx", low=(8, 1, 32), best=(8, 1, 32), high=(8, 1, 32))
    rows = {row[1:] for row in found(open_bundle(root)) if row[0].endswith(".engine")}
    assert rows == {("hops", 1, 8)}


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"files": ("nothing.onnx",)}, UserError, "no file 'nothing.onnx'; there are: core.onnx"),
        ({"backends": ("onnx",)}, BackendError, "unknown backend 'onnx'; did you mean"),
        ({"kinds": ("hop",)}, UserError, "nothing in it to time"),
        ({"kinds": ()}, UserError, "nothing in it to time"),
    ],
)
def test_nothing_to_time(
    wanted: dict[str, object], error: type[Exception], said: str, tmp_path: Path
) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b"))
    with pytest.raises(error, match=said):
        find_cases(bundle, Wanted(**wanted))  # type: ignore[arg-type]


def test_every_kind_of_call_runs(small_wave_bundle: Bundle) -> None:
    speech = speech_of(small_wave_bundle)
    for case in find_cases(small_wave_bundle, Wanted(lengths=(0.5,), threads=(1,))).cases:
        call = case.open(small_wave_bundle, speech)
        first, second = call(), call()
        if isinstance(first, np.ndarray) and case.kind == "offline":
            assert first.shape == (8000,)
            np.testing.assert_array_equal(first, second)
        if case.kind == "core":
            assert isinstance(first, np.ndarray)
            assert len(first) == case.batch
        if case.kind == "hops":
            assert isinstance(first, dict)
            assert len(first) == case.batch


def test_a_row_says_how_to_measure_it(small_wave_bundle: Bundle) -> None:
    cases = find_cases(small_wave_bundle, Wanted(lengths=(0.5,), threads=(1,))).cases
    commands = [case.command(small_wave_bundle) for case in cases]
    assert len(set(commands)) == len(commands)
    assert all(str(small_wave_bundle.path) in command for command in commands)
    assert "--kind core --threads 1 --length 0.5 --batch 4" in " ".join(commands)


def test_noise_where_a_bundle_has_no_speech(tmp_path: Path) -> None:
    speech = speech_of(open_bundle(write_bundle(tmp_path / "b")))
    assert speech.dtype == np.float32
    assert 0.04 < speech.std() < 0.06
