from pathlib import Path

import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.commands.inspect_tables import calls_a_second, print_streaming
from tests.bundles import write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle


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
