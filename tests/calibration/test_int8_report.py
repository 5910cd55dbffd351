import json
from hashlib import sha256

import numpy as np
import pytest

from frcrn_export.calibration.int8_report import SearchPoint, report_name
from frcrn_export.calibration.int8_report_json import quality_json
from frcrn_export.calibration.int8_report_page import markdown, tables
from frcrn_export.calibration.result import report_files
from frcrn_export.runtime.bundle.manifest import Weights
from tests.bundles import manifest
from tests.calibration.reports import FILE, quality, report, worst
from tests.int8_standins import quantization


def parsed(**changes: object) -> dict:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(quality_json(report(**changes)), parse_constant=refuse)


def test_the_fields_of_the_json() -> None:
    found = parsed()
    assert (found["file"], found["model"]) == (FILE, "gain")
    assert found["quantization"]["gates"][1] == {
        "name": "core_snr",
        "limit": 20.0,
        "value": 13.5,
        "passed": False,
    }
    assert found["weights"]["name"] == "best.pt"
    assert found["speed"]["ratio"] == 2.0
    assert found["means"]["int8"] == {
        "si_sdr": 8.7,
        "pesq": 2.4,
        "stoi": 0.85,
        "core_snr_db": 22.5,
    }
    assert found["means"]["noisy"] == {"si_sdr": 2.0, "pesq": 1.5, "stoi": 0.7}
    assert "core_snr_db" not in found["means"]["fp32"]
    first, second = found["clips"]
    assert first["fp16"] == {"si_sdr": 12.49, "pesq": 2.49, "stoi": 0.9, "core_snr_db": 60.0}
    assert (second["name"], second["seconds"], second["int8"]["pesq"]) == ("a|b", 1.5, None)
    assert second["missing"]["int8"] == {"pesq": "silent"}
    assert found["layers"][1]["reason"] == "last"
    assert found["ranges"][0]["chosen_low"] == -2.0
    assert found["search"][1] == {
        "share": 0.7,
        "core_snr_db": 22.0,
        "pesq_drop": None,
        "passed": True,
        "chosen": True,
    }
    assert found["warnings"] == ["12 recordings; 64 are better"]


def test_the_docstring_names_every_field() -> None:
    from frcrn_export.calibration import int8_report_json as report_json

    found = parsed()
    names = {*found, *found["speed"], *found["means"], *found["means"]["int8"]}
    for kind in ("clips", "layers", "ranges", "search"):
        names |= set(found[kind][0])
    assert report_json.__doc__ is not None
    assert [name for name in names if f"`{name}`" not in report_json.__doc__] == []


def test_numbers_that_json_has_not_become_null() -> None:
    points = [SearchPoint(0.5, float("nan"), float("-inf"), passed=False)]
    (point,) = parsed(search=points, speed=None)["search"]
    assert (point["core_snr_db"], point["pesq_drop"]) == (None, None)
    odd = {"fp32": quality(float("inf"), None), "int8": quality(2.0, np.float32(7.25))}
    found = parsed(qualities=odd)
    assert found["means"]["fp32"]["pesq"] is None
    assert found["clips"][0]["int8"]["core_snr_db"] == 7.25


def test_the_page() -> None:
    text = markdown(report(), [report_name(FILE, "worst.png")])
    for shown in (
        f"# {FILE}\n",
        "gain, weights: best.pt (checkpoint).",
        "12 of 16 layers that gain by it compute in INT8, 90.0 % of the multiplications. ",
        "Ranges: percentile, of 64",
        "4 s of audio through the core: 10.00 ms in float32, 5.00 ms in INT8, 2.00 times as fast",
        "12 recordings; 64 are better",
        "| mean core SNR | 13.5 dB | at least 20 dB | FAILED |",
        "| speed against float | - | at least 1x | not measured |",
        "| first | noisy | 1.00 | 1.50 | 0.700 | - |",
        "| first | INT8 | 12.40 | 2.40 | 0.900 | 30.0 |",
        "| a\\|b | FP32 | 5.00 | - | 0.800 | - |",
        "| mean | INT8 | 8.70 | 2.40 | 0.850 | 22.5 |",
        "| conv1 | INT8 | 60.00 | 35.5 |  |",
        "| mask | kept | 1.00 | 9.0 | last |",
        "| a\\|b | INT8 | PESQ-WB | silent |",
        "![The clip with the least core SNR](core.int8.cpu.worst.png)",
    ):
        assert shown in text
    for unsaid in ("Random weights", "--allow-slower", "not measured.\n"):
        assert unsaid not in text


def test_the_page_is_honest() -> None:
    slow = quantization(kept_slower=True)
    text = markdown(
        report(
            weights=Weights(source="random", name="random", seed=1), quantization=slow, speed=None
        )
    )
    assert "Its speed was not measured." in text
    assert "PESQ, SI-SDR and STOI of it say nothing" in text
    assert "kept by request (`--allow-slower`)" in text


def test_rows_are_as_wide_as_their_table() -> None:
    for found in (report(), report(qualities={"fp32": quality(2, None), "int8": quality(2, 9)})):
        for table in tables(found):
            assert {len(row) for row in table.rows} == {len(table.columns)}


def test_files_are_named_for_what_they_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("frcrn_export.calibration.int8_report_page._DPI", 20)
    contents, entries = zip(*report_files(report(), worst()), strict=True)
    assert [(entry.path, entry.format) for entry in entries] == [
        ("core.int8.cpu.quality.json", "json"),
        ("core.int8.cpu.quality.md", "markdown"),
        ("core.int8.cpu.worst.png", "png"),
        ("core.int8.cpu.ranges.png", "png"),
        ("core.int8.cpu.search.png", "png"),
    ]
    for content, entry in zip(contents, entries, strict=True):
        assert (entry.role, entry.precision) == ("report", "int8")
        assert (entry.sha256, entry.bytes) == (sha256(content).hexdigest(), len(content))
    page = contents[1].decode()
    assert all(f"]({entry.path})" in page for entry in entries[2:])
    manifest(files=entries).to_json()
