from collections.abc import Callable
from dataclasses import replace

import pytest

from frcrn_export.runtime.commands.console import print_fitting, print_table
from frcrn_export.runtime.tables import Table

Print = Callable[..., list[str]]

COLUMNS = ("Clip", "Bundle", *(f">{name}" for name in ("SI-SDR (dB)", "Gain", "PESQ-WB", "STOI")))
NUMBERS = ("16.62", "+2.62", "3.271", "0.9412")
LONG = "a_very_long_name_of_a_clip_that_fills_more_than_half_of_a_line"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Print:
    """Prints a table for a `width`, or to a pipe where it is None; gives its lines."""

    def run(*table: object, width: int | None = None) -> list[str]:
        monkeypatch.delenv("COLUMNS", raising=False)
        if width is not None:
            monkeypatch.setenv("COLUMNS", str(width))
        print_table(*table)  # type: ignore[arg-type]
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("width", [None, 20, 40, 60, 80, 200])
@pytest.mark.parametrize("name", ["a", LONG])
def test_numbers_are_never_cut(printed: Print, width: int | None, name: str) -> None:
    lines = printed(COLUMNS, [(name, "wave-unet-16k", *NUMBERS)], width=width)
    assert any(all(number in line for number in NUMBERS) for line in lines)
    said = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert said == name


def test_numbers_within_text_are_not_cut(printed: Print) -> None:
    text = "per second of audio 63.69 GFLOP, [batch, 2, 321, frames] float32 and 13.87 million"
    lines = printed(("What", "Value"), [("operators", text)], width=30)
    for word in ("63.69", "321,", "13.87"):
        assert any(word in line for line in lines)


def test_a_table_fits_where_it_can(printed: Print) -> None:
    rows = [(LONG, "some words that can be put on several lines, and more of them", *NUMBERS)]
    assert max(map(len, printed(COLUMNS, rows, width=100))) == 100
    assert max(map(len, printed(COLUMNS, [("a", "b", *NUMBERS)], width=100))) < 60


def test_in_a_pipe_a_row_is_a_line(printed: Print) -> None:
    text = " ".join(["word"] * 25)
    rows = [("a", text), ("b", "/" + "x" * 300)]
    assert sum("word" in line for line in printed(("What", "Value"), rows[:1])) == 1
    assert sum("x" in line for line in printed(("What", "Value"), rows[1:])) == 1
    assert max(map(len, printed(("What", "Value"), [("a", "b")]))) < 30


def test_in_a_pipe_a_long_sentence_makes_no_wide_table(printed: Print) -> None:
    lines = printed(("What", "Value"), [("size", "1 MB"), ("verification", "a sentence. " * 30)])
    assert max(map(len, lines)) <= 160
    assert " ".join(lines).count("sentence.") == 30


def test_without_rows(printed: Print) -> None:
    assert printed(("A", ">B"), [])


@pytest.mark.parametrize("width", [None, 40])
def test_a_column_without_a_word(printed: Print, width: int | None) -> None:
    assert any("same" in line for line in printed(("row", ""), [("same", "")], width=width))


FILES = Table(
    "Files",
    ("file", "backend", ">of it added MB", ">ms", ">p99", "why"),
    tuple((f"core.{n}.onnx", "onnxruntime-cpu", "-", f"{n}.5", f"{n}.75", "") for n in (10, 20)),
    minor=(">p99",),
)


@pytest.fixture
def fitted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Print:
    def run(table: Table, width: int | None = None) -> list[str]:
        monkeypatch.delenv("COLUMNS", raising=False)
        if width is not None:
            monkeypatch.setenv("COLUMNS", str(width))
        print_fitting(table)
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("width", [None, 120])
def test_columns_that_say_nothing_are_left_out(fitted: Print, width: int | None) -> None:
    printed = "\n".join(fitted(FILES, width=width))
    assert all(word in printed for word in ("file", "backend", "p99", "10.75"))
    assert "added" not in printed
    assert "why" not in printed
    assert "left out" not in printed


def test_what_is_the_same_in_every_row_goes_first_and_is_said(fitted: Print) -> None:
    lines = fitted(FILES, width=40)
    assert max(map(len, lines[:-1])) <= 40
    assert lines[-1] == (
        "too wide for this terminal, left out: backend (onnxruntime-cpu in every row)"
    )
    assert any("10.75" in line for line in lines)


def test_what_matters_least_goes_next(fitted: Print) -> None:
    lines = fitted(FILES, width=30)
    assert lines[-1].endswith("left out: backend (onnxruntime-cpu in every row); p99")
    assert any("core.20.onnx" in line and "20.5" in line for line in lines)


def test_the_only_row_keeps_what_tells_it_from_others(fitted: Print) -> None:
    printed = "\n".join(fitted(replace(FILES, rows=FILES.rows[:1]), width=30))
    assert "onnxruntime-cpu" in printed
    assert "left out: p99" in printed


def test_a_fitting_table_without_rows(fitted: Print) -> None:
    assert "backend" in "".join(fitted(replace(FILES, rows=()), width=120))


def test_names_of_columns_of_numbers_fold(printed: Print) -> None:
    columns = ("file", *(f">a name of {n} words" for n in range(3)))
    assert max(map(len, printed(columns, [("f", "1", "2", "3")], width=50))) == 50
