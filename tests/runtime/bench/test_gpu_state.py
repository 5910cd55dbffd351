"""What nvidia-smi says of the GPU, from a program that answers in its way."""

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from frcrn_export.runtime.bench import gpu_state as module
from frcrn_export.runtime.bench.gpu_state import (
    GpuCourse,
    GpuState,
    GpuWatch,
    gpu_state,
    query_gpu,
)
from frcrn_export.runtime.bench.machine import this_machine
from frcrn_export.runtime.bench.tables import result_notes
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import first_gpu
from tests.runtime.bench.results import MACHINE, result
from tests.standin.gpu import SimulatedGpu

# Knows the fields of `answers`; loops until it is ended where it is asked to.
_PROGRAM = """
    import sys, time
    answers = {answers!r}
    given = sys.argv[1:]
    assert given[:2] == ["-i", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"], given
    fields = given[2].removeprefix("--query-gpu=").split(",")
    assert given[3] == "--format=csv,noheader,nounits"
    if unknown := [name for name in fields if name not in answers]:
        sys.exit(f'Field "{{unknown[0]}}" is not a valid field to query.')
    print(", ".join(answers[name] for name in fields), flush=True)
    while given[4:5] == ["-lms"]:
        busy = {{**answers, {reasons!r}: {busy!r}}}
        print(", ".join(busy[name] for name in fields), flush=True)
        time.sleep(int(given[5]) / 1e3)
"""
NEW, OLD = "clocks_event_reasons.active", "clocks_throttle_reasons.active"
ANSWERS = {"clocks.sm": "2520", "clocks.mem": "10501", "temperature.gpu": "45"}
ANSWERS |= {"power.draw": "[N/A]"}


@pytest.fixture
def smi(gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of nvidia-smi, of a driver that has the new name."""
    path = tmp_path / "smi.py"
    write(path, NEW, "0x0000000000000001")
    monkeypatch.setattr(module, "_COMMAND", (sys.executable, str(path)))
    return path


def write(path: Path, reasons: str, bits: str, busy: str = "0x0") -> None:
    answers = {**ANSWERS, reasons: bits}
    path.write_text(textwrap.dedent(_PROGRAM).format(answers=answers, reasons=reasons, busy=busy))


def test_an_idle_gpu_is_not_throttled_and_what_is_not_there_is_not_known(smi: Path) -> None:
    assert gpu_state() == GpuState(sm_mhz=2520, memory_mhz=10501, celsius=45, watts=None)


def test_older_drivers_have_another_name_for_the_reasons(smi: Path) -> None:
    write(smi, OLD, "0x00000000000000ec")
    state = gpu_state()
    assert state is not None
    assert state.throttles == (
        *("power limit", "hardware slowdown", "heat, by the driver"),
        *("heat, by the hardware", "power brake"),
    )


def test_reasons_that_are_no_number_are_none(smi: Path) -> None:
    write(smi, NEW, "[Not Supported]")
    state = gpu_state()
    assert state is not None
    assert state.throttles == ()


def test_unknown_fields_are_no_answer(smi: Path) -> None:
    assert query_gpu(("clocks.sm",)) == {"clocks.sm": "2520"}
    assert query_gpu(("clocks.sm", "clocks.moon")) == {}


def test_a_run_is_watched_from_beginning_to_end(smi: Path) -> None:
    write(smi, NEW, "0x1", busy="0x4")
    with GpuWatch() as watch:
        assert watch._process is not None
        line = len("2520, 10501, 45, [N/A], 0x1\n")
        until = time.monotonic() + 30
        while os.fstat(watch._seen.fileno()).st_size < 3 * line:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert watch.course is None
    assert watch._process.poll() is not None
    course = watch.course
    assert course is not None
    assert course.before == course.after == gpu_state()
    # One idle look each before, at the start of the program, and after; the others are throttled.
    throttled = (course.samples - 3) / course.samples
    assert course.throttled == {"power limit": pytest.approx(throttled, abs=1e-4)}


def test_without_nvidia_smi_there_is_no_course(
    gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMMAND", ("no-such-program",))
    assert gpu_state() is None
    with GpuWatch() as watch:
        pass
    assert watch.course is None


def test_what_goes_wrong_in_the_block_is_not_hidden_and_the_watch_ends(smi: Path) -> None:
    watch = GpuWatch()
    with pytest.raises(ValueError, match="mine"), watch:
        raise ValueError("mine")
    assert watch._process is not None
    assert watch._process.poll() is not None


def test_notes_say_how_the_gpu_was() -> None:
    state = GpuState(sm_mhz=2520.0, memory_mhz=None, celsius=None, watts=None)
    course = GpuCourse(before=state, after=state, samples=10, throttled={"power limit": 0.4})
    notes = str(list(result_notes(result(gpu=course))))
    assert "before and after: clocks of 2520 and 2520 MHz, unknown and unknown degrees" in notes
    assert "throttled, of the run: 40 % power limit" in notes
    assert "throttled" not in str(list(result_notes(result())))


def test_a_machine_with_a_gpu_names_it_and_the_cuda_of_its_driver(gpu: SimulatedGpu) -> None:
    here = this_machine.__wrapped__()
    assert (here.gpu, here.cuda) == ("NVIDIA GeForce RTX 4090 D", "13.2")
    (first, *_) = result_notes(result(machine=here))
    assert "NVIDIA GeForce RTX 4090 D, driver for CUDA 13.2;" in first
    assert MACHINE.cuda == ""


def has_gpu() -> bool:
    try:
        return first_gpu().sm > 0
    except BackendError:
        return False


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
def test_a_real_gpu_says_its_clock() -> None:
    state = gpu_state()
    assert state is not None
    assert state.sm_mhz
