"""`frcrn-export verify --streaming`."""

import json
from pathlib import Path

import pytest

from frcrn_export.cli import main
from frcrn_export.runtime.verify import streaming
from frcrn_export.runtime.verify.streaming import Pace
from tests.bundles import write_bundle
from tests.checked_streams import write_checked_bundle
from tests.streaming_bundles import Core

ARGS = ("--streaming", "--seconds", "0.05")


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["verify", *map(str, args)])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def test_tables_of_the_match_the_delay_and_the_pace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 2, 3))
    code, out, _ = run(capsys, path, *ARGS)
    assert code == 0
    for title in (
        f"{path}: gain, weights: gain (random: the output is not speech)",
        "Streams against the offline network",
        "Delay in ms",
        "missed deadlines",
        "Latest",
    ):
        assert title in out
    delay = next(line for line in out.splitlines() if "120" in line)
    assert [cell.strip() for cell in delay.strip("│").split("│")] == [
        "core.streaming.onnx", "20", "40", "60", "120", "120",
    ]  # fmt: skip


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 1, 14))
    code, out, _ = run(capsys, path, *ARGS, "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["model"], said["weights"]["source"]) == ("gain", "random")
    (stream,) = said["streams"]
    assert (stream["artifact"], stream["backend"]) == ("core.streaming.onnx", "onnxruntime-cpu")
    assert stream["delay_ms"] == {
        "window": 20, "chunk": 20, "look-ahead": 280, "total": 320, "measured": 320,
    }  # fmt: skip
    assert stream["pace"]["chunks"] == 3
    assert {"p50_ms", "p90_ms", "p99_ms", "max_ms", "latest_ms", "deadline_misses"} < set(
        stream["pace"]
    )
    assert (stream["passed"], stream["matches"][0]["floor_db"]) == (True, 90)


def test_a_stream_too_slow_for_real_time_is_told_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Pace(250, 20.0, 21.0, 22.0, 23.0, 24.0, 99.0, deadline_misses=47)
    monkeypatch.setattr(streaming, "keep_pace", lambda *args, **kwargs: slow)
    path = write_checked_bundle(tmp_path / "b", Core("delay", 2, 3))
    assert "core.streaming.onnx: too slow for real time: 47 of 250" in run(capsys, path, *ARGS)[1]
    (stream,) = json.loads(run(capsys, path, *ARGS, "--json")[1])["streams"]
    assert stream["too_slow"].startswith("too slow for real time: 47 of 250")


def test_a_miss_exits_with_1_after_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 1, 2), gain=1.01)
    code, out, err = run(capsys, path, *ARGS)
    assert code == 1
    assert "NO" in out
    assert "core.streaming.onnx, offline: 40.1 dB, at least 90 dB needed" in err


def test_less_look_ahead_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay"), gain=1.1, less_ahead=True)
    code, out, _ = run(capsys, path, *ARGS)
    assert code == 0
    assert "Less look-ahead than offline" in out


def test_what_cannot_be_checked_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_bundle(tmp_path / "plain")
    for args, says in (
        ((plain, *ARGS), "no streaming core in this bundle"),
        ((plain, "--seconds", "1"), "--seconds goes with --streaming"),
        ((plain, *ARGS, "-c", "x.pt"), "--streaming takes no --checkpoint"),
        ((plain, "--streaming", "--seconds", "0"), "--help"),
    ):
        code, out, err = run(capsys, *args)
        assert (code, out) == (2, "")
        assert says in err
        assert "--windowed" not in err
