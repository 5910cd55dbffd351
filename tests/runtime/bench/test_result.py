import json
from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bench.result import read_result
from frcrn_export.runtime.errors import UserError
from tests.runtime.bench.results import result, row


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = result(row(), row(None, kind="hop"))
    path = tmp_path / "result.json"
    path.write_bytes(written.to_json())
    assert read_result(path) == written


def test_rows_in_json_have_their_label() -> None:
    written = result(row(), row(None, kind="hop"))
    assert [each["label"] for each in json.loads(written.to_json())["rows"]] == [
        "core.onnx, onnxruntime-cpu, pipeline, 1 s, 1 thread",
        "core.onnx, onnxruntime-cpu, hop of 1000 ms, 1 thread",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema"),
        ({"files": [{"path": "a"}]}, "missing required field"),
        ({"sample_rate": -1}, "sample_rate"),
        ({"machine": {}}, "machine"),
        ({"anchor_ms": [0]}, "anchor_ms"),
        ({"rows": [{"path": "a"}]}, "rows"),
    ],
)
def test_what_is_no_result_is_one_line(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    document = {**msgspec.to_builtins(result()), **change}
    path = tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode(document))
    with pytest.raises(UserError, match=said) as found:
        read_result(path)
    assert "frcrn-export bench" in str(found.value)


def test_a_file_that_is_missing_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(UserError, match="no such result"):
        read_result(path)
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(UserError, match="67 MB, at most 67"):
        read_result(path)


def test_rows_in_words() -> None:
    assert row().label == "core.onnx, onnxruntime-cpu, pipeline, 1 s, 1 thread"
    two = msgspec.structs.replace(row(kind="hops"), batch=4, audio_seconds=0.032, threads=2)
    assert two.label == "core.onnx, onnxruntime-cpu, hop of 8 ms, 4 streams, 2 threads"
    assert row(None).real_time_factor is None
    assert row(100.0).real_time_factor == pytest.approx(0.1, rel=0.01)
