"""The run: one contender after another, all its cases, and why what is left out could not run."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_contenders import Contender
from benchmarks.gpu_facts import state_of
from benchmarks.gpu_open import Setup
from benchmarks.gpu_timing import DeviceMemory, Runner, statistics, time_calls
from benchmarks.gpu_workload import Case, Job, Workload
from frcrn_export.runtime.errors import FrcrnExportError

Entry = dict[str, Any]

PUBLISHED_MODEL = "frcrn-16k"


@dataclass(frozen=True)
class Run:
    """What is measured and how long: `repeats` calls a case at most, none begun past `deadline`."""

    setup: Setup
    workload: Workload
    cases: list[Case]
    repeats: int
    deadline: float
    debug: bool = False

    def measure(self, contender: Contender) -> Entry:
        """A contender's entry in the result. Nothing that goes wrong in it goes further."""
        entry: Entry = {
            "name": contender.name,
            "title": contender.title,
            "job": contender.job,
            "memory": contender.memory,
            "measurements": [],
        }
        if contender.published_ms is not None and self.setup.model.spec.name == PUBLISHED_MODEL:
            entry["published_4090d_ms"] = contender.published_ms
        if reason := self._missing(contender):
            return entry | {"skipped": reason}
        memory = DeviceMemory(contender.memory, self.setup.device)
        try:
            opened = contender.open(self.setup)
        except Exception as error:  # whatever it is, the other contenders may still run
            return entry | {"skipped": self._reason(error)}
        for case in self.cases:
            measured = self._measure_case(contender.job, opened.runner, case, memory)
            entry["measurements"].append(measured)
        return entry | {"detail": opened.detail, "gpu_after": state_of(self.setup.device)}

    def _missing(self, contender: Contender) -> str:
        return next((reason for need in contender.needs if (reason := need(self.setup))), "")

    def _measure_case(
        self,
        job: Job,
        open_runner: Callable[[tuple[int, ...]], Runner],
        case: Case,
        memory: DeviceMemory,
    ) -> Entry:
        entry: Entry = {"case": case.name, "batch": case.batch, "seconds": case.seconds}
        if time.monotonic() >= self.deadline:
            return entry | {"skipped": "the time limit was reached"}
        inputs = self.workload.inputs(job, case)
        memory.start_case()
        try:
            timings = time_calls(open_runner(inputs.shape), inputs, self.repeats)
        except Exception as error:  # too little memory for this batch, a shape that it refuses, ...
            return entry | {"skipped": self._reason(error)}
        latency = statistics(timings.calls)
        parts = timings.parts
        return entry | {
            "calls": len(timings.calls),
            "latency_ms": latency,
            "h2d_ms": statistics([part.h2d for part in parts]) if parts else None,
            "compute_ms": statistics([part.compute for part in parts]) if parts else None,
            "d2h_ms": statistics([part.d2h for part in parts]) if parts else None,
            "throughput": case.batch * case.seconds / (latency["mean"] / 1e3),
            "peak_memory_bytes": memory.peak_bytes(),
            "snr_db": self.workload.snr_db(job, case, timings.output),
        }

    def _reason(self, error: Exception) -> str:
        """What went wrong, in one line."""
        if self.debug:
            traceback.print_exception(error)
        if isinstance(error, FrcrnExportError):
            return str(error)
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"
