"""Scoring a signal by every metric, here or in other processes."""

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from threading import current_thread, main_thread

from frcrn_export.calibration.quality.dnsmos import POLYNOMIALS, open_dnsmos
from frcrn_export.calibration.quality.dnsmos import SAMPLE_RATE as DNSMOS_RATE
from frcrn_export.calibration.quality.metrics import (
    Unmeasurable,
    at_rate,
    pesq_wb,
    segmental_snr_db,
    si_sdr_db,
    stoi,
)
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import UserError

Measure = Callable[[Float32Array, Float32Array, int], float]

# Measures against clean speech: functions of the clean and another signal [N] and a rate in Hz.
MEASURES: dict[str, Measure] = {
    "si_sdr": lambda clean, estimate, rate: si_sdr_db(clean, estimate),
    "pesq": pesq_wb,
    "stoi": stoi,
    "seg_snr": segmental_snr_db,
}
_PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}


def require_packages(measures: Iterable[str]) -> None:
    """Raise UserError where a package for the measures or their statistics is missing."""
    needed = ["scipy", *(_PACKAGES[name] for name in measures if name in _PACKAGES)]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        hint = " (it needs a C compiler; or leave PESQ out, see --metric)" * ("pesq" in missing)
        raise UserError(
            f'not installed: {", ".join(missing)}; run: pip install "frcrn-export[quality]"{hint}'
        )


@dataclass(frozen=True)
class Scores:
    """The scores of one signal: metric -> value, and metric -> reason for missing ones."""

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorer:
    """Scores signals at `sample_rate` Hz by some of `MEASURES`, and by DNSMOS with its file.

    Raises UserError for DNSMOS at a lower rate than its own.
    """

    sample_rate: int
    measures: tuple[str, ...] = tuple(MEASURES)
    dnsmos: Path | None = None

    def __post_init__(self) -> None:
        if self.dnsmos is not None and self.sample_rate < DNSMOS_RATE:
            raise UserError(
                f"DNSMOS needs {DNSMOS_RATE} Hz, the bundle is for {self.sample_rate}; "
                "leave out --dnsmos"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all its values."""
        return (*self.measures, *(POLYNOMIALS if self.dnsmos else ()))

    def __call__(self, clean: Float32Array, estimate: Float32Array) -> Scores:
        """Score an estimate [N] of the clean speech [N]."""
        scores = Scores()
        for name in self.measures:
            try:
                scores.values[name] = MEASURES[name](clean, estimate, self.sample_rate)
            except Unmeasurable as reason:
                scores.missing[name] = str(reason)
        if self.dnsmos is not None:
            heard = at_rate(estimate, self.sample_rate, DNSMOS_RATE)
            scores.values.update(open_dnsmos(self.dnsmos)(heard))
        return scores


Result = Callable[[], Scores]


@contextmanager
def scoring(scorer: Scorer, jobs: int) -> Iterator[Callable[[Float32Array, Float32Array], Result]]:
    """A function that scores signals in `jobs` processes and gives getters of the results.

    With one job it scores at once, in this process. Raises UserError where a process was killed.
    """
    if jobs == 1:

        def score_here(clean: Float32Array, estimate: Float32Array) -> Result:
            scores = scorer(clean, estimate)
            return lambda: scores

        yield score_here
        return
    # Not forked: ONNX Runtime's threads do not survive a fork.
    context = get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context)

    def score_there(clean: Float32Array, estimate: Float32Array) -> Result:
        with _interrupts_ignored():  # inherited by the processes that are started
            return pool.submit(scorer, clean, estimate).result

    try:
        yield score_there
    except BrokenProcessPool as error:
        raise UserError(
            "a scoring process was killed, perhaps out of memory; run again with fewer: --jobs 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Only the parent process handles Ctrl-C. Signals belong to the main thread."""
    if current_thread() is not main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
