"""The steps of `make bench`."""

import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from benchmarks.run import LONG, ROOT, TOOL, WORK, Step, steps
from frcrn_export.runtime.commands.bench import bench
from frcrn_export.runtime.errors import BundleError

FOLDERS = (Path("calib"), Path("pairs"))


def named(found: list[Step]) -> dict[str, Step]:
    by_name = {step.name: step for step in found}
    assert len(by_name) == len(found)
    return by_name


def test_int8_needs_recordings_and_long_is_asked_for() -> None:
    plain = named(steps(None, None, long=False))
    assert not any("INT8" in name or name in ("int8", "default_model") for name in plain)
    assert "lookahead" not in plain
    assert "int8" not in named(steps(*FOLDERS, long=False))
    whole = named(steps(*FOLDERS, long=True))
    assert {"INT8 of frcrn-16k", "INT8 of frcrn-16k streaming", "int8", "default_model"} <= {*whole}
    assert {line.split()[0].removesuffix(".py") for line in LONG} <= {*whole}
    assert plain.keys() < whole.keys()


def test_every_program_is_there_and_makes_what_it_says() -> None:
    for step in steps(*FOLDERS, long=True):
        if step.words[0] == TOOL:
            continue
        program = Path(step.words[1])
        assert program.is_file(), step.name
        name, *more = step.result.split(".")  # such as MODEL and THREADS
        written = rf"results/{name}" + r"\.[A-Z]+" * len(more) + r"\.json"
        assert re.search(written, program.read_text()), step.name


def test_bench_takes_the_options_of_its_steps() -> None:
    """That the bundle does not exist is the first thing that is wrong with each of them."""
    runs = [step for step in steps(None, None, long=False) if step.folder is not None]
    assert len(runs) == 11
    for step in runs:
        output, folder, force, *options = step.words[step.words.index("-o") :]
        assert (output, force) == ("-o", "--force")
        assert Path(folder).name == step.result
        done = CliRunner().invoke(bench, ["nowhere", *options])
        assert isinstance(done.exception, BundleError), (step.name, done.output)


def test_results_name_no_folder_of_this_machine() -> None:
    for step in steps(*FOLDERS, long=True):
        assert not any(word.startswith("/") for word in step.words[2:]), step.name


def test_frcrn_has_more_time_where_a_mode_has_a_budget() -> None:
    by_name = named(steps(None, None, long=False))
    for mode, budget in {"times": True, "scaling": True, "capacity": False}.items():
        assert ("--seconds" in by_name[f"{mode} frcrn-16k"].words) is budget
        assert "--seconds" not in by_name[f"{mode} wave-unet-16k"].words


def test_frcrn_streams_in_chunks_beside_single_frames() -> None:
    by_name = named(steps(None, None, long=False))
    bundles = [str(WORK / name) for name in ("frcrn-16k", "frcrn-16k.2", "frcrn-16k.4")]
    *words, output = by_name["capacity frcrn-16k"].words[1:6]
    assert words == ["bench", *bundles]
    assert output == "-o"
    exports = [by_name[f"export frcrn-16k.{n}"].words for n in (2, 4)]
    assert [(*words[-5:-3], words[-1]) for words in exports] == [
        ("--chunk", "2", bundles[1]), ("--chunk", "4", bundles[2])
    ]  # fmt: skip
    assert by_name["hops frcrn-16k.4"].words[2] == bundles[2]


def test_list_names_the_steps() -> None:
    words = (sys.executable, "benchmarks/run.py", "--list", "--only", "side by side")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"side by side {model}, {threads}"
        for model in ("wave-unet-16k", "frcrn-16k")
        for threads in (1, 2)
    ]
