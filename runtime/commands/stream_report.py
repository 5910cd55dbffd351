"""What a live stream says of itself: for the status line, the last line and JSON."""

from typing import Any

from frcrn_export.runtime.streaming.audio_stream import AudioStream
from frcrn_export.runtime.streaming.meter import Meter
from frcrn_export.runtime.streaming.microphone import Live
from frcrn_export.runtime.streaming.pipe import Pipe


def stream_report(audio: AudioStream, meter: Meter, runner: Pipe | Live) -> dict[str, Any]:
    """Everything that was measured, for JSON. Delays are in milliseconds, by their causes."""
    manifest, session, latency = audio.network.manifest, audio.network.session, audio.latency
    parts = {"chunk": latency.chunk, "window": latency.window, "lookahead": latency.lookahead}
    delays = {name: 1000 * samples / manifest.sample_rate for name, samples in parts.items()}
    if audio.sample_rate != manifest.sample_rate:
        delays["resampling"] = max(0.0, meter.delay_ms - sum(delays.values()))
    if isinstance(runner, Live):
        delays["device"] = runner.device_ms
    return {
        "model": manifest.model,
        "backend": session.backend,
        "device": session.device,
        "precision": session.entry.precision,
        "sample_rate": audio.sample_rate,
        "channels": audio.channels,
        "audio_seconds": round(meter.audio_seconds, 3),
        "busy_seconds": round(meter.busy_seconds, 3),
        "real_time_factor": round(meter.real_time_factor, 4),
        "deadline_misses": meter.misses,
        "dropouts": runner.dropouts if isinstance(runner, Live) else None,
        "delay_ms": round(sum(delays.values()), 1),
        "delay_parts_ms": {name: round(delay, 1) for name, delay in delays.items()},
        "passes": latency.passes,
        "replaced_samples": audio.replaced_samples,
        "truncated": runner.reader.truncated if isinstance(runner, Pipe) else False,
    }


def summary(report: dict[str, Any]) -> str:
    """One line of it."""
    parts = " + ".join(f"{name} {ms:g}" for name, ms in report["delay_parts_ms"].items() if ms)
    extras = (
        (report["dropouts"], f"{report['dropouts']} dropouts"),
        (report["replaced_samples"], f"{report['replaced_samples']} samples replaced"),
        (report["passes"] > 1, f"windows compute each sample {report['passes']:g} times"),
        (report["truncated"], "input truncated"),
    )
    return ", ".join(
        (
            f"{report['audio_seconds']:.1f} s",
            f"real-time factor {report['real_time_factor']:.3f}",
            f"{report['deadline_misses']} deadlines missed",
            f"delay {report['delay_ms']:g} ms ({parts})",
            *(text for said, text in extras if said),
        )
    )
