"""A run over many files: several at once, past those that fail, until all are done."""

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import chain
from threading import Event, Lock

from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.spool import is_stream
from frcrn_export.runtime.denoiser import Denoiser, rows_at_once
from frcrn_export.runtime.errors import (
    AudioError,
    BackendError,
    FrcrnExportError,
    OutputError,
    UserError,
    reason,
)
from frcrn_export.runtime.files.denoise import FileResult, SourceDenoiser, denoise_file
from frcrn_export.runtime.files.jobs import Job
from frcrn_export.runtime.files.partials import sweep_partials
from frcrn_export.runtime.files.shared_runs import RunStopped, SharedRuns
from frcrn_export.runtime.processors import usable_processors

Progress = Callable[[Job, float], None]

# Of a disk, not of one file: the run ends.
_NO_ROOM = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)]
# An utterance that goes whole through a large network takes up to this much, see `denoiser`.
_BYTES_PER_FILE = 2 << 30


@dataclass(frozen=True)
class Failure:
    """A file that could not be denoised."""

    job: Job
    error: FrcrnExportError


Outcome = FileResult | Failure


def files_at_once(files: int, processors: int | None = None) -> int:
    """How many files are denoised at once by default, on processors.

    One for each processor (of `processors`, or of all that this process may use), as far as 2 GB of
    memory is there for each.
    """
    usable = processors or usable_processors()
    return max(1, min(files, usable, _memory_bytes() // _BYTES_PER_FILE))


def threads_of_each(parallel: int, processors: int | None = None) -> int | None:
    """The processor threads of each of `parallel` files at once; None: the backend's choice."""
    if parallel == 1:
        return processors
    return max(1, (processors or usable_processors()) // parallel)


def batch_of(denoiser: SourceDenoiser) -> int:
    """How many files share a batch; 0 where none do, as on processors."""
    rows = rows_at_once(denoiser.session) if isinstance(denoiser, Denoiser) else 1
    return rows if rows > 1 else 0


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 4 * _BYTES_PER_FILE


@dataclass
class Run:
    """A run over jobs. `outcomes` fills up meanwhile, and stays where the run is interrupted.

    Attributes:
        denoiser: What denoises. With several files at once its session is shared by threads; on a
            GPU equal lengths of several files go through it in one batch.
        jobs: The files to denoise.
        parallel: How many at once.
        restore_level, attenuation_limit: As in `Denoiser.stream`.
        outcomes: What became of the jobs so far.
    """

    denoiser: SourceDenoiser
    jobs: Sequence[Job]
    parallel: int = 1
    restore_level: bool = True
    attenuation_limit: float | None = None
    outcomes: dict[Job, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._stopping = Event()
        self._backend_works = True

    def start(self, progress: Progress | None = None) -> None:
        """Denoise the files; the call returns when all are done or have failed.

        The outputs do not depend on `parallel` on processors. `progress` is called with a job and
        its share that is done, 0 to 1, from several threads. Raises the error of a file where it
        concerns the others, too: a backend that fails twice running, a disk that is full. Files
        that are done stay then, and no partial file is left, as on KeyboardInterrupt.
        """
        sweep_partials(filter(None, chain(*((job.target, job.plot) for job in self.jobs))))
        show = progress or (lambda job, share: None)
        jobs = []
        for job in self.jobs:
            # A pipe may wait for its writer, which an interrupt ends in this thread alone.
            if self.parallel == 1 or is_stream(job.source):
                self._do(self.denoiser, job, show)
            else:
                jobs.append(job)
        if jobs:
            self._do_at_once(jobs, show)

    def _do_at_once(self, jobs: list[Job], show: Progress) -> None:
        shared = self._shared_runs(len(jobs))
        if shared is not None:
            jobs = sorted(jobs, key=_length)

        def do(number: int) -> None:
            denoiser = self.denoiser
            if shared is not None:
                assert isinstance(denoiser, Denoiser)
                denoiser = replace(denoiser, session=shared.of_file(number))
            try:
                self._do(denoiser, jobs[number], show)
            finally:
                if shared is not None:
                    shared.finish()

        pool = ThreadPoolExecutor(self.parallel)
        try:
            for future in as_completed([pool.submit(do, number) for number in range(len(jobs))]):
                future.result()
        finally:
            self._stopping.set()
            if shared is not None:
                shared.stop()
            pool.shutdown(cancel_futures=True)

    def _shared_runs(self, files: int) -> SharedRuns | None:
        """Batches over several files, where a batch pays: on GPUs."""
        rows = batch_of(self.denoiser)
        if not rows or not isinstance(self.denoiser, Denoiser):
            return None
        manifest = self.denoiser.manifest
        window = manifest.segments.length
        length = manifest.stft.frames(window) if manifest.stft else window
        return SharedRuns(
            self.denoiser.session,
            rows=rows,
            values=rows * length,
            parallel=self.parallel,
            files=files,
        )

    def _do(self, denoiser: SourceDenoiser, job: Job, progress: Progress) -> None:
        def show(job: Job, share: float) -> None:
            if self._stopping.is_set():
                raise RunStopped
            progress(job, share)

        try:
            outcome: Outcome = denoise_file(
                denoiser,
                job,
                restore_level=self.restore_level,
                attenuation_limit=self.attenuation_limit,
                progress=show,
            )
        except RunStopped:
            return
        except FrcrnExportError as error:
            outcome = Failure(job, error)
        except (OSError, MemoryError) as error:
            outcome = Failure(job, AudioError(f"{job.source}: not denoised ({reason(error)})"))
        with self._lock:
            if isinstance(outcome, Failure):
                self._raise_what_concerns_all(outcome.error)
            else:
                self._backend_works = True
            self.outcomes[job] = outcome
        progress(job, 1.0)

    def _raise_what_concerns_all(self, error: FrcrnExportError) -> None:
        if any(text in str(error) for text in _NO_ROOM):
            raise error
        if isinstance(error, BackendError) and not isinstance(error, OutputError):
            if not self._backend_works:
                raise error
            self._backend_works = False


def _length(job: Job) -> float:
    """Seconds, so that equal lengths are in progress at once; what cannot be read comes first."""
    try:
        source = FileSource(job.source, warn=False)
    except UserError:
        return 0.0
    return source.frames / source.sample_rate
