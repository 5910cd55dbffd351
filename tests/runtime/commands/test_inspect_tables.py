import json
from pathlib import Path

import msgspec
import pytest

from frcrn_export.exporters.commands.inspect import inspect
from frcrn_export.runtime.bundle.audio_cost import calls_a_second
from frcrn_export.runtime.bundle.manifest import Weights
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.commands.inspect_tables import (
    print_quantization,
    print_streaming,
    said_of_model,
)
from tests.bundles import manifest, write_bundle
from tests.int8_standins import add_int8, quantization, scaled
from tests.streaming_bundles import Core, write_streaming_bundle


def test_random_weights_are_said_and_no_others() -> None:
    where, described = Path("b"), manifest()
    assert said_of_model(where, described).endswith("(random: the output is not speech)")
    trained = Weights(source="checkpoint", name="a.pth", sha256="0" * 64)
    described = msgspec.structs.replace(described, weights=trained)
    assert said_of_model(where, described) == "b: gain, weights: a.pth"


def test_how_it_was_made_and_its_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "b")
    add_int8(root, lambda model: scaled(model, 1.1), kept_slower=True, report="core.onnx")
    print_quantization(open_bundle(root).manifest)
    out = capsys.readouterr().out
    for shown in (
        "core.int8.cpu.onnx: INT8",
        "ONNX Runtime, on a processor",
        "percentile, of 64 recordings, seed 3",
        "abababababababab",
        "12 of 16 layers",
        "90.0 %",
        "passed: 0.0123 (at most 0.1)",
        "FAILED: 13.5 dB (at least 20 dB)",
        "not measured (at least 1x)",
        "by --allow-slower",
        "core.onnx",
    ):
        assert shown in out


def test_without_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "b")
    print_quantization(open_bundle(root).manifest)
    assert capsys.readouterr().out == ""
    entry = add_int8(root, lambda model: model, "tensorrt", gates=())
    print_quantization(manifest(files=(entry,)))
    out = capsys.readouterr().out
    assert "none was measured" in out
    assert "TensorRT, on a GPU" in out
    assert "kept" not in out


def test_inspect_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bundle(tmp_path / "b")
    add_int8(root, lambda model: scaled(model, 1.1))
    inspect.main([str(root)], standalone_mode=False)
    assert "FAILED: 13.5 dB" in capsys.readouterr().out
    inspect.main([str(root), "--json"], standalone_mode=False)
    files = json.loads(capsys.readouterr().out)["manifest"]["files"]
    assert files[1]["quantization"] == json.loads(msgspec.json.encode(quantization()))


def test_chunk_look_ahead_and_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_streaming_bundle(tmp_path / "b", Core("halved_end", chunk=2, lookahead=3))
    manifest = open_bundle(tmp_path / "b").manifest
    print_streaming(manifest)
    out = capsys.readouterr().out
    for shown in (
        "core.streaming.onnx",
        "2 frames, 40 ms",
        "3 frames, 60 ms",
        "end",
        f"{(2 * 321 * 3 + 1) * 4 / 1e3:.1f} kB",
        "past.next",
        "[batch, 2, 321, 3]",
        "-3",
    ):
        assert shown in out
    assert calls_a_second(manifest, manifest.files[0]) == 25


def test_samples_where_there_is_no_stft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=32), stft=None)
    manifest = open_bundle(tmp_path / "b").manifest
    print_streaming(manifest)
    assert "32 samples, 2 ms" in capsys.readouterr().out
    assert calls_a_second(manifest, manifest.files[0]) == 500


def test_states_in_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_streaming_bundle(tmp_path / "b", Core("coarse", chunk=4, lookahead=2000), stft=None)
    print_streaming(open_bundle(tmp_path / "b").manifest)
    out = capsys.readouterr().out
    assert "2.0 kB" in out
    assert "uint8" in out
    assert " 128 " in out


def test_nothing_to_say_of_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "b")
    manifest = open_bundle(tmp_path / "b").manifest
    print_streaming(manifest)
    assert capsys.readouterr().out == ""
    assert calls_a_second(manifest, manifest.files[0]) == 1
