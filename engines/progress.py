"""The builder's progress, and the way to stop it."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsInt

from frcrn_export.runtime.bundle.manifest import Flavor
from frcrn_export.runtime.sessions.tensorrt_backends import load_flavor

if TYPE_CHECKING:
    import tensorrt as trt

# (phase, steps done, steps in all); phases nest, and come and go in the builder's order.
Progress = Callable[[str, int, int], None]


class BuildProgress:
    """Passes the builder's steps on to a callback; any thread may cancel the build.

    An exception of the callback cancels too and is kept in `failure`: it must not cross the
    builder's own code.
    """

    def __init__(self, callback: Progress | None) -> None:
        self._callback = callback
        self._steps: dict[str, int] = {}
        self._cancelled = threading.Event()
        self.failure: Exception | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the build was told to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Make the builder stop at its next step."""
        self._cancelled.set()

    def start(self, phase: str, steps: int) -> None:
        """A phase of `steps` steps begins."""
        self._steps[phase] = steps
        self._report(phase, 0)

    def step(self, phase: str, step: int) -> bool:
        """A step (counted from 0) is done. False tells the builder to stop."""
        self._report(phase, step + 1)
        return not self.cancelled

    def finish(self, phase: str) -> None:
        """A phase ended, whether or not all of its steps were done."""
        self._report(phase, self._steps.get(phase, 0))

    def _report(self, phase: str, done: int) -> None:
        if self._callback is None or self.cancelled:
            return
        try:
            self._callback(phase, done, self._steps.get(phase, done))
        except Exception as error:
            self.failure = error
            self.cancel()


def progress_monitor(flavor: Flavor, progress: BuildProgress) -> "trt.IProgressMonitor":
    """The monitor of this flavour that drives `progress`."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_flavor(flavor)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()  # without it the binding crashes

        def phase_start(
            self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
        ) -> None:
            progress.start(phase_name, int(num_steps))

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            return progress.step(phase_name, int(step))

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
