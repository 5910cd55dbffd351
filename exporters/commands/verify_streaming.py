"""The output of `frcrn-export verify --streaming`: streams against offline, delay and pace."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from click import echo
from msgspec import to_builtins

from frcrn_export.runtime.commands.console import print_json, print_line, print_table, status
from frcrn_export.runtime.commands.inspect_tables import said_of_model
from frcrn_export.runtime.commands.real_time import too_slow

if TYPE_CHECKING:
    from frcrn_export.runtime.verify.streaming import Pace, StreamReport


def verify_streaming(path: Path, backends: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Check every streaming core of a bundle and show the results.

    Raises as `check_streams`, and CheckFailed where one did not pass.
    """
    from frcrn_export.runtime.bundle.reader import open_bundle
    from frcrn_export.runtime.verify.streaming import check_streams, require_streams

    with status() as step:
        step("checking the files")
        bundle = open_bundle(path)
        reports = check_streams(bundle, backends, seconds, progress=step)
    rate = bundle.manifest.sample_rate
    if as_json:
        print_json(
            {
                "bundle": str(path),
                "model": bundle.manifest.model,
                "weights": to_builtins(bundle.manifest.weights),
                "streams": [_facts(report, rate) for report in reports],
            }
        )
    else:
        print_line(said_of_model(path, bundle.manifest))
        _print_matches(reports)
        _print_delay(reports, rate)
        if any(report.pace for report in reports):
            _print_pace(reports)
    require_streams(reports)


def _delays(report: "StreamReport") -> dict[str, int]:
    """The delay by cause, their sum and the measured delay, in samples."""
    latency = report.latency
    return {
        "window": latency.window,
        "chunk": latency.chunk,
        "look-ahead": latency.lookahead,
        "total": latency.samples,
        "measured": report.lag_samples,
    }


def _facts(report: "StreamReport", rate: int) -> dict[str, object]:
    return {
        "artifact": report.artifact,
        "backend": report.backend,
        "passed": report.passed,
        "matches": [asdict(match) | {"passed": match.passed} for match in report.matches],
        "delay_ms": {cause: 1e3 * n / rate for cause, n in _delays(report).items()},
        "delay_samples": _delays(report),
        "pace": asdict(report.pace) if report.pace else None,
        "too_slow": _too_slow(report.pace) if report.pace else None,
    }


def _print_matches(reports: "list[StreamReport]") -> None:
    print_table(
        ("Artifact", "Case", ">SNR dB", ">Floor", ">Max abs", "Pass"),
        (
            (
                report.artifact,
                match.case,
                f"{match.snr_db:.1f}",
                "" if match.floor_db is None else f"{match.floor_db:.0f}",
                f"{match.max_abs:.1e}",
                "" if match.floor_db is None else "yes" if match.passed else "NO",
            )
            for report in reports
            for match in report.matches
        ),
        title="Streams against the offline network",
    )
    if any(match.floor_db is None for report in reports for match in report.matches):
        echo("Less look-ahead than offline: the floor holds for the stored streams instead.")


def _print_delay(reports: "list[StreamReport]", rate: int) -> None:
    causes = list(_delays(reports[0]))
    print_table(
        ("Artifact", *(f">{cause}" for cause in causes)),
        (
            (report.artifact, *(f"{1e3 * n / rate:g}" for n in _delays(report).values()))
            for report in reports
        ),
        title="Delay in ms",
    )


def _too_slow(pace: "Pace") -> str | None:
    return None if pace.waited else too_slow(pace.deadline_misses, pace.chunks)


def _print_pace(reports: "list[StreamReport]") -> None:
    print_table(
        (
            *("Artifact", "Backend", ">Chunks", ">Chunk ms", ">p50", ">p90", ">p99", ">Max"),
            *(">Latest", ">Late"),
        ),
        (
            (
                report.artifact,
                report.backend,
                str(pace.chunks),
                f"{pace.chunk_ms:g}",
                *(f"{ms:.2f}" for ms in (pace.p50_ms, pace.p90_ms, pace.p99_ms, pace.max_ms)),
                f"{pace.latest_ms:.2f}",
                str(pace.deadline_misses),
            )
            for report in reports
            if (pace := report.pace) is not None
        ),
        title="In ms at real-time pace: to compute a chunk, and from its arrival until it was done",
    )
    echo("Late: chunks that were done after the next one had arrived (missed deadlines).")
    if any(report.pace and report.pace.waited for report in reports):
        echo(
            "They had waited: the processor did other work, one is computed in less than it lasts."
        )
    for report in reports:
        if report.pace and (sentence := _too_slow(report.pace)):
            echo(f"{report.artifact}: {sentence}")
