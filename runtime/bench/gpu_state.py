"""The GPU's clocks, temperature and power, and what throttles it, as nvidia-smi has them."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from msgspec import Meta, Struct

from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import gpu_uuid

Word = Annotated[str, Meta(max_length=255)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]

_COMMAND: tuple[str, ...] = ("nvidia-smi",)
_LIMIT_SECONDS = 20.0
_EVERY_MS = 500
_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
# One field by two names: the new one, and that of drivers before 535.
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
# NVML's bits for clocks that are lower than asked for. An idle GPU and clocks that a user has set
# have bits too, and are not throttled.
_THROTTLES = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "heat, by the driver",
    0x40: "heat, by the hardware",
    0x80: "power brake",
}


class GpuState(Struct, frozen=True, kw_only=True):
    """The GPU at one time; None for what nvidia-smi does not say. `throttles` are the reasons."""

    sm_mhz: Amount | None
    memory_mhz: Amount | None
    celsius: Amount | None
    watts: Amount | None
    throttles: tuple[Word, ...] = ()


class GpuCourse(Struct, frozen=True, kw_only=True):
    """The GPU over a run. `throttled` has the share of the `samples` that each reason was in."""

    before: GpuState
    after: GpuState
    samples: Annotated[int, Meta(ge=2)]
    throttled: dict[Word, Annotated[float, Meta(ge=0, le=1)]] = {}


def gpu_state() -> GpuState | None:
    """The first GPU now; None without one, or without an nvidia-smi that answers."""
    answer = _ask()
    return _state(tuple(answer.values())) if answer else None


def query_gpu(fields: Sequence[str]) -> dict[str, str]:
    """What nvidia-smi says of the first GPU, by its own names of fields, without units.

    Empty without a GPU, where nvidia-smi does not answer, and for a field that it does not know.
    """
    try:
        done = subprocess.run(
            _words(fields), capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=True
        )
    except (BackendError, OSError, subprocess.SubprocessError):
        return {}
    values = _values(done.stdout)
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


class GpuWatch:
    """Looks at the GPU before a `with` block, twice a second in it, and after; then has `course`.

    nvidia-smi looks in a process of its own, so that the block is not disturbed. `course` stays
    None where `gpu_state` does not know the GPU.
    """

    def __init__(self) -> None:
        self.course: GpuCourse | None = None
        self._before: GpuState | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "GpuWatch":
        self._seen = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill up
        if answer := _ask():
            self._before = _state(tuple(answer.values()))
            with suppress(BackendError, OSError):
                self._process = subprocess.Popen(
                    (*_words(tuple(answer)), "-lms", str(_EVERY_MS)),
                    stdin=subprocess.DEVNULL,
                    stdout=self._seen,
                    stderr=subprocess.DEVNULL,
                )
        return self

    def __exit__(self, *_: object) -> None:
        with self._seen:
            if self._process is not None:
                self._process.terminate()
                try:
                    self._process.wait(_LIMIT_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
            self._seen.seek(0)
            lines = self._seen.read().rpartition("\n")[0].splitlines()
        if self._before is None or (after := gpu_state()) is None:
            return
        rows = (_values(line) for line in lines)
        during = [_state(row) for row in rows if len(row) == len(_FIELDS) + 1]
        states = [self._before, *during, after]
        counts = Counter(reason for state in states for reason in state.throttles)
        self.course = GpuCourse(
            before=self._before,
            after=after,
            samples=len(states),
            throttled={reason: round(n / len(states), 4) for reason, n in counts.most_common()},
        )


def _ask() -> dict[str, str]:
    """What a state is made of, with the name of the last field that nvidia-smi knows here."""
    for reasons in _REASONS:
        if found := query_gpu((*_FIELDS, reasons)):
            return found
    return {}


def _words(fields: Sequence[str]) -> tuple[str, ...]:
    query = f"--query-gpu={','.join(fields)}"
    return (*_COMMAND, "-i", gpu_uuid(), query, "--format=csv,noheader,nounits")


def _values(line: str) -> list[str]:
    return [value.strip() for value in line.split(",")]


def _state(values: Sequence[str]) -> GpuState:
    """From the values of `_FIELDS`, and the bits of the reasons."""
    sm, memory, celsius, watts = map(_number, values[:-1])
    try:
        bits = int(values[-1], 16)
    except ValueError:
        bits = 0
    throttles = tuple(reason for bit, reason in _THROTTLES.items() if bits & bit)
    return GpuState(sm_mhz=sm, memory_mhz=memory, celsius=celsius, watts=watts, throttles=throttles)


def _number(text: str) -> float | None:
    """A number; None for "[N/A]" and its like."""
    try:
        return float(text)
    except ValueError:
        return None
