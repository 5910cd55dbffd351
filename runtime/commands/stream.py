"""The command `frcrn-export stream`."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

import click
import msgspec

from frcrn_export.runtime.commands.console import (
    attenuation_option,
    high_pass_option,
    precision_option,
)
from frcrn_export.runtime.commands.inspect_tables import print_model
from frcrn_export.runtime.commands.real_time import too_slow
from frcrn_export.runtime.errors import AudioError, UserError
from frcrn_export.runtime.streaming.audio_stream import AudioStream, Meter
from frcrn_export.runtime.streaming.microphone import Live
from frcrn_export.runtime.streaming.pipe import Pipe

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import Precision
    from frcrn_export.runtime.streaming.pipe import PipeReader


def stream_report(audio: AudioStream, meter: Meter, runner: Pipe | Live) -> dict[str, Any]:
    """All measurements, for JSON. Delays are in milliseconds, by cause."""
    manifest, session, latency = audio.network.manifest, audio.network.session, audio.latency
    parts = {"chunk": latency.chunk, "window": latency.window, "lookahead": latency.lookahead}
    delays = {name: 1000 * samples / manifest.sample_rate for name, samples in parts.items()}
    if audio.sample_rate != manifest.sample_rate:
        delays["resampling"] = max(0.0, meter.delay_ms - sum(delays.values()))
    if isinstance(runner, Live):
        delays["device"] = runner.device_ms
    return {
        "model": manifest.model,
        "weights": msgspec.to_builtins(manifest.weights),
        "backend": session.backend,
        "device": session.device,
        "precision": session.entry.precision,
        "attenuation_limit": audio.attenuation_limit,
        "sample_rate": audio.sample_rate,
        "channels": audio.channels,
        "audio_seconds": round(meter.audio_seconds, 3),
        "busy_seconds": round(meter.busy_seconds, 3),
        "real_time_factor": round(meter.real_time_factor, 4),
        "calls": meter.calls,
        "deadline_misses": meter.misses,
        "too_slow": too_slow(meter.misses, meter.calls),
        "dropouts": runner.dropouts if isinstance(runner, Live) else None,
        "delay_ms": round(sum(delays.values()), 1),
        "delay_parts_ms": {name: round(delay, 1) for name, delay in delays.items()},
        "passes": latency.passes,
        "replaced_samples": audio.replaced_samples,
        "failed_calls": audio.failed_calls,
        "limited_calls": audio.limited_calls,
        "truncated": runner.reader.truncated if isinstance(runner, Pipe) else False,
        "losses": _losses(audio, runner),
    }


def _losses(audio: AudioStream, runner: Pipe | Live) -> list[str]:
    """What of the input is not in the output, in words."""
    network_rate = audio.network.manifest.sample_rate
    losses = []
    if audio.sample_rate > network_rate:
        losses.append(f"the band above {network_rate / 2000:g} kHz is gone")
    if isinstance(runner, Pipe) and runner.reader.another:
        losses.append("a second WAV behind the first was not read")
    if isinstance(runner, Pipe) and runner.writer.clipped:
        losses.append(f"{runner.writer.clipped} samples clipped: integers end at full scale")
    return losses


def summary(report: dict[str, Any]) -> str:
    """One line of it."""
    parts = " + ".join(f"{name} {ms:g}" for name, ms in report["delay_parts_ms"].items() if ms)
    extras = (
        (report["dropouts"], f"{report['dropouts']} dropouts"),
        (report["replaced_samples"], f"{report['replaced_samples']} samples replaced"),
        (report["limited_calls"], f"{report['limited_calls']} calls clipped: --precision fp32"),
        (report["failed_calls"], f"{report['failed_calls']} calls gave NaN: silence instead"),
        (report["passes"] > 1, f"windows compute each sample {report['passes']:g} times"),
        (report["truncated"], "input truncated"),
        (report["losses"], "; ".join(report["losses"])),
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


_STATUS_SECONDS = 0.25
_CLEAR = "\r\x1b[K"  # the line of the terminal


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["s16le", "s24le", "s32le", "f32le"]),
    help="Standard input is raw PCM in this format. Without it: WAV or RF64, nothing else.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=1),
    help="Sample rate of raw PCM or --live, in Hz; by default the network's.",
)
@click.option(
    "--channels",
    type=click.IntRange(min=1),
    help="Channels of raw PCM or --live; 1 by default. Each is denoised alone.",
)
@click.option(
    "-b",
    "--backend",
    default="auto",
    show_default=True,
    help="auto, onnxruntime, onnxruntime-cpu, -cuda, tensorrt, or tensorrt-rtx; with --windowed "
    "also onnxruntime-tensorrt or torchscript.",
)
@click.option(
    "-t",
    "--threads",
    type=click.IntRange(min=1),
    help="Processor threads.  [default: 1, with --windowed all usable]",
)
@precision_option
@click.option(
    "--gain", type=float, help="A fixed linear input gain; turns the automatic level off."
)
@click.option(
    "--restore-level/--no-restore-level",
    default=True,
    show_default=True,
    help="Restore the input's level, or keep the level that the network works at.",
)
@attenuation_option
@high_pass_option
@click.option(
    "--windowed", is_flag=True, help="Overlapping windows, for networks that cannot stream."
)
@click.option("--live", is_flag=True, help="From the microphone to the speakers.")
@click.option(
    "--status/--no-status",
    default=None,
    help="A status line on standard error, or nothing. Default: on a terminal a line that is "
    "updated, elsewhere what runs and how it went.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the final status line as JSON.")
def stream(
    bundle: Path,
    format: str | None,
    rate: int | None,
    channels: int | None,
    backend: str,
    threads: int | None,
    precision: "Precision | None",
    gain: float | None,
    restore_level: bool,
    attenuation_limit: float | None,
    high_pass: bool | None,
    windowed: bool,
    live: bool,
    status: bool | None,
    as_json: bool,
) -> None:
    """Denoise in real time, from standard input to standard output, with a BUNDLE.

    Takes WAV, or with --format raw PCM of the --rate and --channels, and gives the same form,
    each block as soon as it is done. Ctrl-C ends it; what was read is still written.

    \b
    arecord -t raw -f S16_LE -r 16000 | frcrn-export stream BUNDLE --format s16le |
      aplay -t raw -f S16_LE -r 16000
    ffmpeg -i IN -ac 1 -f wav - | frcrn-export stream BUNDLE | ffmpeg -i - OUT
    """
    from frcrn_export.runtime.bundle.reader import open_bundle
    from frcrn_export.runtime.streaming.audio_stream import AudioStream, Meter
    from frcrn_export.runtime.streaming.microphone import Live
    from frcrn_export.runtime.streaming.network import open_network
    from frcrn_export.runtime.streaming.pcm import PcmSpec
    from frcrn_export.runtime.streaming.pipe import Interrupt, Pipe, PipeReader, PipeWriter

    opened = open_bundle(bundle)
    raw = PcmSpec(format or "s16le", rate or opened.manifest.sample_rate, channels or 1)
    reader = None
    if not live:
        _check_pipe(sys.stdin, "input")
        _check_pipe(sys.stdout, "output")
        reader = PipeReader(sys.stdin.buffer, raw if format else None)
        _check_agreement(reader, rate, channels)
    spec = reader.spec if reader else raw
    network = open_network(
        opened,
        backend,
        threads,
        windowed=windowed,
        batch=spec.channels,
        precision=precision,
        high_pass=high_pass,
    )
    audio = AudioStream(
        network, spec.sample_rate, spec.channels, gain, restore_level, attenuation_limit
    )
    block_frames = math.ceil(audio.latency.chunk * spec.sample_rate / opened.manifest.sample_rate)
    meter = Meter(audio)
    runner: Live | Pipe
    if reader is None:
        runner = Live(audio, block_frames)
    else:
        writer = PipeWriter(sys.stdout.buffer, spec, reader.is_wav, reader.data_bytes)
        runner = Pipe(reader, writer, audio, block_frames)

    def report() -> dict[str, Any]:
        return stream_report(audio, meter, runner)

    watched = sys.stderr.isatty() if status is None else status
    show = _status_line(lambda: summary(report())) if watched else lambda: None
    if status is not False and not as_json:
        print_model(bundle, opened.manifest)
    with Interrupt() as interrupt:
        runner.run(meter, interrupt, show)
    if as_json:
        click.echo(json.dumps(report()), err=True)
    elif status is not False:
        last = report()
        click.echo(_CLEAR * watched + summary(last), err=True)
        if last["too_slow"]:
            click.echo(last["too_slow"], err=True)


def _check_pipe(stream: TextIO | None, name: str) -> None:
    """Raise UserError for a stream that is a terminal or closed (None in Python)."""
    if stream is None or stream.isatty():
        raise UserError(
            f"standard {name} is {'a terminal' if stream else 'closed'}; use a pipe: "
            "ffmpeg -i IN -f wav - | frcrn-export stream BUNDLE > OUT.wav, or --live"
        )


def _check_agreement(reader: "PipeReader", rate: int | None, channels: int | None) -> None:
    """Raise AudioError where a WAV header contradicts the options."""
    spec = reader.spec
    for option, wanted, found in (
        ("--rate", rate, spec.sample_rate),
        ("--channels", channels, spec.channels),
    ):
        if wanted not in (None, found):
            raise AudioError(
                f"standard input is WAV with {option[2:]} {found}, not {wanted}; leave out {option}"
            )


def _status_line(text: Callable[[], str]) -> Callable[[], None]:
    """Shows text on one line of standard error, which it rewrites."""
    shown = -math.inf

    def show() -> None:
        nonlocal shown
        if perf_counter() - shown >= _STATUS_SECONDS:
            shown = perf_counter()
            click.echo(_CLEAR + text(), nl=False, err=True)

    return show
