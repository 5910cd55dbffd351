"""Ctrl-C and SIGTERM between two steps, so that what is saved can be gone on from exactly."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A run was interrupted after `step`, and saved."""

    def __init__(self, step: int) -> None:
        super().__init__(f"saved at step {step}")
        self.step = step


@contextmanager
def deferred_interrupts() -> Iterator[Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one acts as outside.

    Signals that are ignored stay so. In other threads than the main one the event is never set.
    """
    asked = Event()
    before: dict[signal.Signals, Any] = {}
    if current_thread() is main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                before[number] = signal.getsignal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
