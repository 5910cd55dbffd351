"""Sessions in TensorRT and TensorRT-RTX: an engine of the bundle on the GPU it was built for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry, Profile
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import GpuMemoryError, cuda_errors, use_gpu
from frcrn_export.runtime.sessions.session import check_input
from frcrn_export.runtime.sessions.tensorrt_contexts import ClassicContexts, RtxContexts
from frcrn_export.runtime.sessions.tensorrt_engine import Engine, load_engine
from frcrn_export.runtime.sessions.tensorrt_lane import Contexts, Lane

if TYPE_CHECKING:
    from cuda.core import Device, Stream

_MOST_LANES = 4
# a shape is captured at its second run
_WARM_UP_RUNS = 2


class TensorRTSession:
    """An engine that as many threads as there are lanes run at once; more threads wait."""

    device = "cuda"

    def __init__(self, engine: Engine, lanes: "Lanes") -> None:
        self._engine = engine
        self._lanes = lanes

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._engine.info.backend

    @property
    def entry(self) -> FileEntry:
        """The engine's file."""
        return self._engine.entry

    def run(self, inputs: Float32Array) -> Float32Array:
        """As `Session.run`; the array it returns is the caller's own."""
        check_input(self.entry, inputs)
        if not self._engine.info.profile.includes(inputs.shape):
            raise BackendError(_outside(self._engine, inputs.shape))
        with _explained(self._engine), self._lanes.take() as lane:
            return lane.run(inputs)


def open_tensorrt(bundle: Bundle, entry: FileEntry, threads: int | None) -> TensorRTSession:
    """Classic TensorRT, 10 or 11: the version that built the engine. It uses no CPU threads."""
    engine = load_engine(bundle, entry)
    return _open(engine, lambda device, stream: ClassicContexts(engine, device, stream))


def open_tensorrt_rtx(bundle: Bundle, entry: FileEntry, threads: int | None) -> TensorRTSession:
    """TensorRT-RTX, the version that built the engine. It uses no CPU threads."""
    engine = load_engine(bundle, entry)
    with _explained(engine):
        contexts = RtxContexts(engine)
    return _open(engine, lambda device, stream: contexts)


def _open(
    engine: Engine, open_contexts: Callable[["Device", "Stream"], Contexts]
) -> TensorRTSession:
    def open_lane() -> Lane:
        with cuda_errors(engine.entry.path):
            return Lane(engine, use_gpu(), open_contexts)

    session = TensorRTSession(engine, Lanes(open_lane, _MOST_LANES))
    silence = np.zeros(engine.info.profile.opt, np.float32)
    for _ in range(_WARM_UP_RUNS):
        session.run(silence)
    return session


class Lanes:
    """Lends lanes to threads, one each; opens a new one when all are in use, up to `most`."""

    def __init__(self, open_lane: Callable[[], Lane], most: int) -> None:
        self._open = open_lane
        self._most = most
        self._count = 0  # lent, free and being opened
        self._free: list[Lane] = []
        self._changed = Condition()

    @contextmanager
    def take(self) -> Iterator[Lane]:
        """Lend a lane for a `with` block; a lane whose block failed is not used again."""
        lane = self._next()
        try:
            yield lane
        except BaseException:
            self._forget_one()
            raise
        with self._changed:
            self._free.append(lane)
            self._changed.notify()

    def _next(self) -> Lane:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._free or self._count < self._most)
                if self._free:
                    return self._free.pop()
                self._count += 1
            try:
                return self._open()
            except GpuMemoryError:
                self._forget_one()
                with self._changed:
                    if self._count == 0:
                        raise
                    self._most = self._count  # as many as there is room for
            except BaseException:
                self._forget_one()
                raise

    def _forget_one(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify()


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    """Turn CUDA errors into BackendError; for lack of memory, name a profile that needs less."""
    try:
        with cuda_errors(engine.entry.path):
            yield
    except GpuMemoryError as error:
        profile = engine.info.profile
        small = Profile(min=profile.min, opt=profile.min, max=profile.opt)
        raise BackendError(
            f"{error}; free some memory of the GPU ({engine.gpu.name}, "
            f"{engine.gpu.total_memory / 2**30:.0f} GiB), or run: {engine.rebuild_for(small)}"
        ) from error


def _outside(engine: Engine, shape: tuple[int, ...]) -> str:
    """The error for a shape outside the profile."""
    profile = engine.info.profile
    wider = Profile(
        min=tuple(map(min, profile.min, shape)),
        opt=profile.opt,
        max=tuple(map(max, profile.max, shape)),
    )
    return (
        f"{engine.entry.path}: its profile takes {list(profile.min)} to {list(profile.max)}, got "
        f"{list(shape)}; run: {engine.rebuild_for(wider)}"
    )
