"""What became of the files of `frcrn-export denoise`: as a table, a line, and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from frcrn_export.runtime.commands.console import print_line, print_table

if TYPE_CHECKING:
    from frcrn_export.runtime.denoiser import Denoiser
    from frcrn_export.runtime.files.denoise import FileResult
    from frcrn_export.runtime.files.jobs import Job, Plan
    from frcrn_export.runtime.files.run import Failure, Outcome
    from frcrn_export.runtime.streaming.audio_stream import StreamedSources

_MOST_ROWS = 50  # of the table of files; a person reads no more, and --json has them all


@dataclass
class Report:
    """The files of a plan and their outcomes so far.

    Attributes:
        plan: All jobs, those skipped, and what was left out.
        outcomes: By job; those without one were not reached.
        seconds: The wall time of the run.
        error: What ended the run before its end, if anything: an error, or "interrupted".
    """

    plan: "Plan"
    outcomes: "Mapping[Job, Outcome]" = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None

    @property
    def done(self) -> "list[FileResult]":
        """The results, in the order of the plan."""
        from frcrn_export.runtime.files.denoise import FileResult

        found = map(self.outcomes.get, self.plan.jobs)
        return [each for each in found if isinstance(each, FileResult)]

    @property
    def failed(self) -> "list[Failure]":
        """The failures, in the order of the plan."""
        from frcrn_export.runtime.files.run import Failure

        found = map(self.outcomes.get, self.plan.jobs)
        return [each for each in found if isinstance(each, Failure)]

    @property
    def counts(self) -> dict[str, int]:
        """How many files of each status, and how many were left out."""
        return {
            "done": len(self.done),
            "skipped": len(self.plan.skipped),
            "failed": len(self.failed),
            "not reached": len(self.plan.waiting) - len(self.outcomes),
            "left out": sum(self.plan.left_out.values()),
        }

    @property
    def line(self) -> str:
        """Everything in one line: "3 done, 1 skipped, 1 failed (2.0 s of audio in 0.1 s, ...)"."""
        said = [f"{count} {status}" for status, count in self.counts.items() if count]
        audio = sum(result.audio_seconds for result in self.done)
        speed = f"; {audio:.1f} s of audio in {self.seconds:.1f} s" if audio else ""
        factor = f", RTF {self.seconds / audio:.3f}" if audio else ""
        return f"{', '.join(said)}{speed}{factor}"

    def print(self, denoiser: "Denoiser | StreamedSources") -> None:
        """What ran, the table of files unless it is long, and the line."""
        session = denoiser.session
        ran = f"{session.entry.path} ({session.entry.precision}) in {session.backend}"
        if not 0 < len(self.done) <= _MOST_ROWS:
            print_line(ran)
        else:
            print_table(
                ("Output", ">Audio (s)", ">Time (s)", ">RTF"),
                (
                    (
                        str(result.job.target),
                        f"{result.audio_seconds:.2f}",
                        f"{result.elapsed_seconds:.2f}",
                        f"{result.real_time_factor:.3f}",
                    )
                    for result in self.done
                ),
                title=ran,
            )
        print_line(self.line)

    def print_failures(self) -> None:
        """One line for each file that failed, on standard error."""
        for failure in self.failed:
            print_line(f"failed: {failure.error}", err=True)

    def to_json(
        self,
        bundle: Path,
        denoiser: "Denoiser | StreamedSources",
        attenuation_limit: float | None,
    ) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "bundle": str(bundle),
            "model": denoiser.manifest.model,
            "weights": msgspec.to_builtins(denoiser.manifest.weights),
            "backend": denoiser.session.backend,
            "device": denoiser.session.device,
            "file": denoiser.session.entry.path,
            "precision": denoiser.session.entry.precision,
            "attenuation_limit": attenuation_limit,
            "high_pass": denoiser.manifest.high_pass is not None,
            "files": [self._file(job) for job in self.plan.jobs],
            "left_out": dict(self.plan.left_out),
            "counts": {status.replace(" ", "_"): n for status, n in self.counts.items()},
            "elapsed_seconds": round(self.seconds, 3),
            "error": self.error,
        }

    def _file(self, job: "Job") -> dict[str, object]:
        from frcrn_export.runtime.files.run import Failure

        outcome = self.outcomes.get(job)
        described: dict[str, object] = {
            "input": str(job.source),
            "output": str(job.target),
            "plot": str(job.plot) if job.plot else None,
            "status": "skipped" if job in self.plan.skipped else "not_reached",
            "error": None,
            "losses": [],
        }
        if isinstance(outcome, Failure):
            described |= {"status": "failed", "error": str(outcome.error)}
        elif outcome is not None:
            described |= {
                "status": "done",
                "sample_rate": outcome.sample_rate,
                "channels": outcome.channels,
                "audio_seconds": round(outcome.audio_seconds, 3),
                "elapsed_seconds": round(outcome.elapsed_seconds, 3),
                "real_time_factor": round(outcome.real_time_factor, 4),
                "losses": list(outcome.losses),
            }
        return described
