import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.bundle.manifest import Padding
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import AudioError, BackendError, UserError
from frcrn_export.runtime.files import denoise, run
from frcrn_export.runtime.files.denoise import FileResult
from frcrn_export.runtime.files.jobs import Job, plan_jobs
from frcrn_export.runtime.files.run import Failure, Run, files_at_once, threads_of_each
from tests.bundles import GainSession, core_entry, frcrn_segments, manifest
from tests.tones import write_tone


class Failing(GainSession):
    """A backend that fails where a function of the input says so."""

    fails: Callable[[np.ndarray], bool] = staticmethod(lambda inputs: False)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        if self.fails(inputs):
            raise BackendError("core.onnx: out of memory")
        return super().run(inputs)


def halving(session: GainSession | None = None, above: int = 1_000_000) -> Denoiser:
    padding = Padding(rule="multiple", size=1, stride=1)  # none
    described = manifest(level="peak", padding=padding, segments=frcrn_segments(above))
    return Denoiser(described, session or GainSession(core_entry(), gain=0.5))


def jobs_in(folder: Path, count: int, frames: Callable[[int], int]) -> list[Job]:
    for number in range(count):
        write_tone(folder / "in" / f"{number:02}.wav", frames(number))
    return plan_jobs([folder / "in"], folder / "out").waiting


def failed(done: Run) -> dict[str, str]:
    return {
        job.source.name: str(outcome.error)
        for job, outcome in done.outcomes.items()
        if isinstance(outcome, Failure)
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_bad_file_does_not_end_the_run(parallel: int, tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 6, lambda number: 5_000)
    (tmp_path / "in" / "01.wav").write_bytes(b"")
    (tmp_path / "in" / "03.wav").write_text("no audio")
    jobs[5].source.unlink()
    done = Run(halving(), jobs, parallel)
    done.start()
    assert sorted(failed(done)) == ["01.wav", "03.wav", "05.wav"]
    assert sorted(contents(tmp_path / "out")) == ["00.wav", "02.wav", "04.wav"]
    assert len(done.outcomes) == len(jobs)


def test_what_the_system_refuses_is_a_failure_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_in(tmp_path, 3, lambda number: 100)

    def refuse(denoiser: object, job: Job, **options: object) -> FileResult:
        if job is jobs[0]:
            raise MemoryError
        if job is jobs[1]:
            raise PermissionError(errno.EACCES, "Permission denied")
        return denoise.denoise_file(halving(), job)

    monkeypatch.setattr(run, "denoise_file", refuse)
    done = Run(halving(), jobs)
    done.start()
    assert failed(done) == {
        "00.wav": f"{jobs[0].source}: not denoised (it needs more memory than there is)",
        "01.wav": f"{jobs[1].source}: not denoised (Permission denied)",
    }


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_full_disk_ends_the_run(
    parallel: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_in(tmp_path, 20, lambda number: 100)

    def write(self: object, block: object) -> None:
        raise AudioError(f"x: cannot be written ({os.strerror(errno.ENOSPC)})")

    monkeypatch.setattr(denoise.FileWriter, "write", write)
    with pytest.raises(UserError, match="No space left"):
        Run(halving(), jobs, parallel).start()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_backend_that_fails_twice_running_ends_the_run(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 6, lambda number: 1000 + number)
    session = Failing(core_entry())
    session.fails = lambda inputs: inputs.shape[-1] in (1000, 1002, 1004, 1005)
    done = Run(halving(session), jobs)
    with pytest.raises(BackendError, match="out of memory"):
        done.start()
    assert sorted(failed(done)) == ["00.wav", "02.wav", "04.wav"]
    assert sorted(contents(tmp_path / "out")) == ["01.wav", "03.wav"]


def test_an_output_that_cannot_be_used_is_of_its_file(tmp_path: Path) -> None:
    class NotFinite(GainSession):
        def run(self, inputs: np.ndarray) -> np.ndarray:
            return np.full_like(inputs, np.nan)

    done = Run(halving(NotFinite(core_entry())), jobs_in(tmp_path, 3, lambda number: 100))
    done.start()
    assert len(failed(done)) == 3
    assert all("NaN or infinite" in said for said in failed(done).values())


def test_outputs_do_not_depend_on_how_many_run_at_once(
    wave_unet_bundle: Path, tmp_path: Path
) -> None:
    jobs_in(tmp_path, 7, lambda number: 3_000 + 500 * number)
    written = []
    for parallel, threads in ((1, 2), (1, 1), (3, 1)):
        jobs = plan_jobs([tmp_path / "in"], tmp_path / f"{parallel} {threads}").waiting
        Run(Denoiser.open(wave_unet_bundle, "onnxruntime-cpu", threads), jobs, parallel).start()
        written.append(contents(jobs[0].target.parent))
    assert written[0] == written[1] == written[2]
    assert len(written[0]) == 7


def test_progress_comes_from_every_file(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 5, lambda number: 70_000)
    shares: dict[Job, list[float]] = {job: [] for job in jobs}
    Run(halving(), jobs, 2).start(lambda job, share: shares[job].append(share))
    for seen in shares.values():
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("parallel", [1, 3])
def test_what_progress_raises_ends_the_run(parallel: int, tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 30, lambda number: 1000)
    done = Run(halving(), jobs, parallel)

    def interrupt(job: Job, share: float) -> None:
        if job is jobs[4]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        done.start(interrupt)
    assert 0 < len(done.outcomes) < len(jobs)
    assert set(contents(tmp_path / "out")) == {job.target.name for job in done.outcomes}


# On a GPU.


def on_gpu(session: GainSession | None = None) -> GainSession:
    session = session or GainSession(core_entry(), gain=0.5)
    session.device = "cuda"
    return session


def test_equal_lengths_share_a_batch(tmp_path: Path) -> None:
    # 16 rows at once, of as many samples as 16 windows have.
    lengths = [4_000, 4_000, 2_000, 4_000, 2_000, 3_000]
    jobs = jobs_in(tmp_path, 6, lambda number: lengths[number])
    session = on_gpu()
    done = Run(halving(session), jobs, parallel=6)
    done.start()
    assert sorted(session.shapes) == [(1, 1, 3_000), (2, 1, 2_000), (3, 1, 4_000)]
    for job in jobs:
        before, after = (soundfile.read(path)[0] for path in (job.source, job.target))
        np.testing.assert_allclose(after, 0.5 * before, atol=1e-4)


def test_batches_follow_from_the_files_alone(tmp_path: Path) -> None:
    lengths = [5_000, 700, 700, 90_000, 700, 5_000, 40_000, 700, 700, 300]
    jobs = jobs_in(tmp_path, 10, lambda number: lengths[number])
    jobs[2].source.write_bytes(b"bad")
    seen = []
    for _ in range(5):
        session = on_gpu()
        Run(halving(session, above=10_000), jobs, parallel=4).start()
        seen.append(session.shapes)
    assert all(shapes == seen[0] for shapes in seen)
    assert seen[0][:4] == [(1, 1, 300), (3, 1, 700), (1, 1, 700), (2, 1, 5_000)]


def test_windows_of_several_files_share_a_batch(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 3, lambda number: 50_000)
    session = on_gpu()
    Run(halving(session, above=0), jobs, parallel=3).start()
    alone = on_gpu()
    Run(halving(alone, above=0), jobs[:1]).start()
    assert sum(rows for rows, *_ in session.shapes) == 3 * sum(rows for rows, *_ in alone.shapes)
    assert max(rows for rows, *_ in session.shapes) == 3 * max(rows for rows, *_ in alone.shapes)


def test_a_batch_holds_no_more_samples_than_its_windows(tmp_path: Path) -> None:
    window = frcrn_segments().length
    jobs = jobs_in(tmp_path, 8, lambda number: 8 * window)
    session = on_gpu()
    Run(halving(session), jobs, parallel=8).start()
    assert session.shapes == [(2, 1, 8 * window)] * 4


def test_the_rows_that_fail_are_found(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 4, lambda number: 1000)
    samples, rate = soundfile.read(jobs[2].source)
    soundfile.write(jobs[2].source, np.zeros_like(samples), rate)
    session = Failing(core_entry())
    session.fails = lambda inputs: not inputs.any(axis=(1, 2)).all()
    done = Run(halving(on_gpu(session)), jobs, parallel=4)
    done.start()
    assert failed(done) == {"02.wav": "core.onnx: out of memory"}
    assert len(contents(tmp_path / "out")) == 3


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt()])
def test_no_file_waits_for_ever(error: BaseException, tmp_path: Path) -> None:
    class Broken(GainSession):
        def run(self, inputs: np.ndarray) -> np.ndarray:
            if len(self.shapes) == 2:
                raise error
            return super().run(inputs)

    jobs = jobs_in(tmp_path, 12, lambda number: 1000)
    with pytest.raises(type(error)):
        Run(halving(on_gpu(Broken(core_entry()))), jobs, parallel=3).start()
    assert not list(tmp_path.rglob("*.partial"))


# Processors.


def test_the_defaults_keep_to_processors_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "usable_processors", lambda: 8)
    monkeypatch.setattr(run, "_memory_bytes", lambda: 64 << 30)
    assert (files_at_once(100), files_at_once(3), files_at_once(1)) == (8, 3, 1)
    assert (files_at_once(100, 2), files_at_once(0)) == (2, 1)
    assert (threads_of_each(1), threads_of_each(1, 4)) == (None, 4)
    assert (threads_of_each(3), threads_of_each(8), threads_of_each(20)) == (2, 1, 1)
    monkeypatch.setattr(run, "_memory_bytes", lambda: 5 << 30)
    assert files_at_once(100) == 2
