"""`frcrn`, the command line tool: what `frcrn-export` gives, and one line for every bad input."""

import io
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from frcrn_export.runtime.bundle.reader import sha256_of
from frcrn_export.runtime.commands.denoise import denoise
from frcrn_export.runtime.commands.stream import stream
from tests.bundles import manifest, write_bundle
from tests.runtime.cpp.tool import Tool
from tests.streaming_bundles import Core, write_streaming_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core for recordings that makes them louder than full scale."""
    return write_bundle(tmp_path_factory.mktemp("tool") / "louder", manifest(), gain=6.0)


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tool") / "streaming"
    return write_streaming_bundle(path, Core(chunk=50, lookahead=30), stft=None, level="peak")


def noise(samples: int = 10_000, channels: int = 1) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((samples, channels))
    return (0.1 * values).astype(np.float32)


def written(path: Path, samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate, subtype)
    return path


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format="WAV")
    return file.getvalue()


def python_denoise(bundle: Path, source: Path, output: Path, *options: str) -> Path:
    words = [str(bundle), str(source), "-o", str(output), *options]
    result = CliRunner().invoke(denoise, words)
    assert result.exit_code == 0, result.output
    return output


def python_stream(data: bytes, bundle: Path, *options: str) -> bytes:
    result = CliRunner().invoke(stream, [str(bundle), *options], input=data)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


# ------------------------------------------------------------------ recordings


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".caf", ".w64", ".au", ".voc"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_files_are_pythons_byte_for_byte(
    suffix: str, subtype: str, bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.wav", noise(channels=2), subtype=subtype)
    expected = python_denoise(bundle, source, tmp_path / f"python{suffix}")
    done = tool("denoise", bundle, source, tmp_path / f"cpp{suffix}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"cpp{suffix}").read_bytes() == expected.read_bytes()
    assert b"samples clipped" in done.stderr


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_formats_are_chosen_as_in_python(
    subtype: str, suffix: str, bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    """Compared by samples: headers of float hold a time, and encoders are of another build."""
    source = written(tmp_path / "in.wav", noise(), subtype=subtype)
    expected = python_denoise(bundle, source, tmp_path / f"python{suffix}")
    found = tmp_path / f"cpp{suffix}"
    assert tool("denoise", bundle, source, found).returncode == 0
    assert soundfile.info(found).subtype == soundfile.info(expected).subtype
    close = 0.05 if suffix in (".ogg", ".mp3") else 0
    np.testing.assert_allclose(
        soundfile.read(found)[0], soundfile.read(expected)[0], rtol=0, atol=close
    )


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_kept(rate: int, bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = written(tmp_path / "in.wav", noise(channels=2), rate, "FLOAT")
    options = ("--attenuation-limit", "9", "--high-pass")
    expected = python_denoise(bundle, source, tmp_path / "python.wav", *options)
    done = tool("denoise", bundle, source, tmp_path / "cpp.wav", *options)
    assert (b"the band above 8 kHz is gone" in done.stderr) == (rate > 16_000)
    found, found_rate = soundfile.read(tmp_path / "cpp.wav")
    assert found_rate == rate
    np.testing.assert_allclose(found, soundfile.read(expected)[0], rtol=0, atol=2e-6)


def test_tags_are_kept(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = tmp_path / "in.flac"
    with soundfile.SoundFile(source, "w", 16_000, 1) as file:
        file.title, file.artist = "Rain", "Åse"
        file.write(noise())
    expected = python_denoise(bundle, source, tmp_path / "python.flac")
    assert tool("denoise", bundle, source, tmp_path / "cpp.flac").returncode == 0
    found = soundfile.SoundFile(tmp_path / "cpp.flac").copy_metadata()
    assert found == soundfile.SoundFile(expected).copy_metadata()
    assert found["title"] == "Rain"


def test_json_says_what_was_done(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = written(tmp_path / "in.wav", noise(16_000, 2))
    done = tool("denoise", bundle, source, tmp_path / "out.wav", "--json")
    said = json.loads(done.stdout)
    assert (said["channels"], said["sample_rate"], said["audio_seconds"]) == (2, 16_000, 1.0)


def test_outputs_are_not_replaced_by_accident(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = written(tmp_path / "in.wav", noise())
    before = source.read_bytes()
    (tmp_path / "link.wav").symlink_to(source)
    for same in ("in.wav", "link.wav"):
        assert "the input itself" in tool.error("denoise", bundle, source, tmp_path / same, "-f")
    assert source.read_bytes() == before
    out = tmp_path / "out.wav"
    out.write_text("mine")
    assert "add --force" in tool.error("denoise", bundle, source, out)
    assert out.read_text() == "mine"
    assert tool("denoise", bundle, source, out, "--force").returncode == 0
    assert soundfile.info(out).frames == 10_000


def test_inputs_that_are_no_audio_are_one_line(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    whole = wav(noise())
    of_one_hz = whole[:24] + struct.pack("<I", 1) + whole[28:]
    (tmp_path / "nan.wav").write_bytes(wav(np.full((100, 2), np.nan), subtype="FLOAT"))
    for name, content, words in (
        ("empty.wav", b"", "zero length"),
        ("text.wav", b"hello, world" * 10, "cannot be read as audio"),
        ("header.wav", whole[:44], "no samples"),
        ("begun.wav", whole[:40] + bytes(4) + whole[44:], "no samples in it, says its header"),
        ("half-header.wav", whole[:30], "cannot be read as audio"),
        ("rate.wav", of_one_hz, "a sample rate of 1 Hz"),
        ("channels.wav", wav(noise(10, 65)), "65 channels"),
        ("nan.wav", (tmp_path / "nan.wav").read_bytes(), "nan.wav, channel 0: sample 0 is"),
    ):
        (tmp_path / name).write_bytes(content)
        assert words in tool.error("denoise", bundle, tmp_path / name, tmp_path / "out.wav")
    assert "no such" in tool.error("denoise", bundle, tmp_path / "no", tmp_path / "out.wav").lower()
    assert "no regular file" in tool.error("denoise", bundle, "/dev/zero", tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_a_recording_that_ends_early_is_read_to_its_end(
    bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    whole = wav(noise())
    (tmp_path / "in.wav").write_bytes(whole[:10_001])
    assert tool("denoise", bundle, tmp_path / "in.wav", tmp_path / "out.wav").returncode == 0
    assert soundfile.info(tmp_path / "out.wav").frames == (10_001 - 44) // 2


def test_64_channels(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = written(tmp_path / "in.wav", noise(2_000, 64))
    assert tool("denoise", bundle, source, tmp_path / "out.wav").returncode == 0
    assert soundfile.info(tmp_path / "out.wav").channels == 64


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out", "no audio format"),
        ("out.txt", "'.txt' is no audio format"),
        ("out.opus", ".opus does not take 44100 Hz with 3 channels (it takes 8000"),
        ("out.mp3", ".mp3 does not take 44100 Hz with 3 channels (it takes 8000"),
        ("in.wav/out.wav", "cannot be written (Not a directory)"),
        ("folder.wav", "a folder"),
    ],
)
def test_outputs_that_cannot_be(
    name: str, words: str, bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.wav", noise(100, 3), 44_100)
    (tmp_path / "folder.wav").mkdir()
    before = sorted(tmp_path.iterdir())
    assert words in tool.error("denoise", bundle, source, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_no_half_file(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = written(tmp_path / "in.wav", noise(50_000))
    (tmp_path / "out.wav").write_text("mine")
    before = sorted(tmp_path.iterdir())

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = tool("denoise", bundle, source, tmp_path / "out.wav", "--force", before=full)
    assert done.returncode == 2
    assert b"cannot be written (" in done.stderr
    assert b"File too large" in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "out.wav").read_text() == "mine"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_not_taken_for_a_file(
    closed: int, bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.wav", noise())
    done = tool(*("denoise", bundle, source, tmp_path / "out.wav"), before=lambda: os.close(closed))
    assert done.returncode == (2 if closed == 1 else 0)
    expected = python_denoise(bundle, source, tmp_path / "python.wav")
    assert (tmp_path / "out.wav").read_bytes() == expected.read_bytes()


def test_an_interrupt_leaves_no_half_file(bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = written(tmp_path / "in.wav", noise(60_000, 64))
    out = tmp_path / "out.wav"
    seen = False
    for _ in range(20):
        running = tool.start("denoise", bundle, source, out, "-f", stdout=subprocess.DEVNULL)
        while running.poll() is None and not seen:
            seen = bool(list(tmp_path.glob(".*.partial")))
        running.terminate()
        running.wait(30)
        assert sorted(tmp_path.iterdir()) in ([source], [source, out])
        if seen:
            break
    assert seen
    assert not out.exists() or soundfile.info(out).frames == 60_000


# --------------------------------------------------------------------- streams


@pytest.mark.parametrize("format", ["s16le", "s24le", "s32le", "f32le"])
def test_raw_streams_are_pythons_byte_for_byte(format: str, streaming: Path, tool: Tool) -> None:
    data = np.random.default_rng(1).integers(0, 256, 12 * 3_000, np.uint8).tobytes()
    if format == "f32le":
        samples = noise(9_000)
        samples[[5, 6, 7]] = [[np.nan], [np.inf], [1e30]]
        data = samples.tobytes()
    options = ("--format", format)
    done = tool("stream", streaming, *options, data=data)
    assert done.stdout == python_stream(data, streaming, *options)
    assert len(done.stdout) == len(data)
    assert (b"3 samples replaced" in done.stderr) == (format == "f32le")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_streams_are_pythons_byte_for_byte(
    subtype: str, channels: int, streaming: Path, tool: Tool
) -> None:
    data = wav(noise(channels=channels), subtype=subtype)
    for options in ((), ("--keep-level",), ("--gain", "20", "--attenuation-limit", "6")):
        done = tool("stream", streaming, *options, data=data)
        in_python = ["--no-restore-level" if word == "--keep-level" else word for word in options]
        assert done.stdout == python_stream(data, streaming, *in_python)
        assert done.returncode == 0


def test_streams_of_another_rate(streaming: Path, tool: Tool) -> None:
    data = noise(48_000, 2).tobytes()
    options = ("--format", "f32le", "--rate", "48000", "--channels", "2", "--high-pass")
    found = np.frombuffer(tool("stream", streaming, *options, data=data).stdout, np.float32)
    expected = np.frombuffer(python_stream(data, streaming, *options), np.float32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_headers_that_do_not_know_the_length(streaming: Path, tool: Tool, tmp_path: Path) -> None:
    """Of a pipe the length is unknown; where the output is a file, it is corrected."""
    whole = wav(noise())
    endless = whole[:40] + b"\xff\xff\xff\xff" + whole[44:]
    assert tool("stream", streaming, data=endless).stdout == python_stream(endless, streaming)
    with (tmp_path / "out.wav").open("wb") as out:
        running = tool.start("stream", streaming, stdin=subprocess.PIPE, stdout=out)
        running.communicate(endless)
    assert soundfile.info(tmp_path / "out.wav").frames == 10_000


def test_truncated_and_repeated_input(streaming: Path, tool: Tool) -> None:
    whole = wav(noise())
    done = tool("stream", streaming, "--json", data=whole[:5_001])
    assert json.loads(done.stderr)["truncated"]
    assert len(done.stdout) == 5_000
    done = tool("stream", streaming, data=whole + whole)
    assert b"a second WAV behind the first was not read" in done.stderr
    assert len(done.stdout) == len(whole)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (b"", (), "nothing came"),
        (b"hello", (), "no WAV header"),
        (b"RIFF\0\0\0\0AVI ", (), "RIFF, but not WAV"),
        (wav(noise(10))[:30], (), "a damaged WAV header"),
        (wav(noise(10))[:40], (), "without samples"),
        (wav(noise(10), subtype="DOUBLE"), (), "WAV of 64 bits, format 3"),
        (wav(noise(10), 500), (), "a sample rate of 500 Hz"),
        (wav(noise(10, 65)), (), "65 channels"),
        (wav(noise(10)), ("--rate", "8000"), "leave out --rate"),
        (wav(noise(10)), ("--channels", "2"), "leave out --channels"),
        (b"", ("--format", "s8"), "--format s8; give s16le"),
        (b"", ("--format", "s16le", "--rate", "1"), "a sample rate of 1 Hz"),
        (b"", ("--format", "s16le", "--channels", "65"), "65 channels"),
    ],
)
def test_input_that_cannot_be_streamed(
    data: bytes, options: tuple[str, ...], words: str, streaming: Path, tool: Tool
) -> None:
    assert words in tool.error("stream", streaming, *options, data=data)


def test_nothing_is_a_stream_of_no_samples(streaming: Path, tool: Tool) -> None:
    done = tool("stream", streaming, "--format", "s16le", data=b"")
    assert (done.returncode, done.stdout) == (0, b"")


def test_any_damage_of_a_header_is_an_error_or_a_stream(streaming: Path, tool: Tool) -> None:
    whole = bytearray(wav(noise(100), subtype="PCM_24"))
    rng = np.random.default_rng(0)
    for _ in range(25):
        damaged = bytearray(whole)
        for at in rng.integers(0, 48, 3):
            damaged[at] = rng.choice([0, 1, 0x7F, 0xFF])
        done = tool("stream", streaming, data=bytes(damaged))
        assert done.returncode in (0, 2), (bytes(damaged), done.stderr)


def test_a_reader_that_goes_ends_it_quietly(streaming: Path, tool: Tool) -> None:
    running = tool.start(
        *("stream", streaming, "--format", "f32le", "--no-status"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdin
    assert running.stdout
    assert running.stderr
    running.stdin.write(bytes(40_000))
    running.stdin.flush()
    running.stdout.read(1_000)
    running.stdout.close()
    with pytest.raises(BrokenPipeError):
        for _ in range(1_000):
            running.stdin.write(bytes(40_000))
    assert running.wait(30) == 0
    assert running.stderr.read() == b""


@pytest.mark.parametrize("words", [("stream", "BUNDLE", "--format", "s16le"), ("info", "BUNDLE")])
def test_a_full_output_is_one_line(words: tuple[str, ...], streaming: Path, tool: Tool) -> None:
    with Path("/dev/full").open("wb") as full:
        running = tool.start(
            *(streaming if word == "BUNDLE" else word for word in words),
            stdin=subprocess.PIPE,
            stdout=full,
            stderr=subprocess.PIPE,
        )
        _, said = running.communicate(bytes(40_000))
    assert said == b"error: standard output cannot be written (No space left on device)\n"
    assert running.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_still_writes_what_was_read(
    number: signal.Signals, streaming: Path, tool: Tool
) -> None:
    running = tool.start(
        *("stream", streaming, "--format", "f32le"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdin
    assert running.stdout
    data = noise(1_000).tobytes()
    running.stdin.write(data)
    running.stdin.flush()
    found = running.stdout.read(4 * 970)  # the rest is held back by the look-ahead
    running.send_signal(number)
    found += running.stdout.read()
    assert running.wait(30) == 0
    assert found == python_stream(data, streaming, "--format", "f32le")


# ------------------------------------------------------------- other commands


def test_bundles_that_cannot_be_used(
    bundle: Path, streaming: Path, tool: Tool, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.wav", noise())
    for command in ("info", "verify", "bench", "stream"):
        assert str(tmp_path / "no") in tool.error(command, tmp_path / "no")
    altered = shutil.copytree(bundle, tmp_path / "altered")
    core = altered / "core.onnx"
    core.write_bytes(core.read_bytes()[:-1] + b"x")
    assert "core.onnx" in tool.error("denoise", altered, source, tmp_path / "out.wav")
    assert "stream" in tool.error("stream", bundle, "--format", "s16le", data=b"")
    assert "libnone.so" in tool.error("info", bundle, "--onnxruntime", tmp_path / "libnone.so")
    assert "quantum" in tool.error(
        "denoise", bundle, source, tmp_path / "o.wav", "--provider", "quantum"
    )
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no command; see: frcrn --help"),
        (("sing",), "no such command: sing"),
        (("info",), "BUNDLE is missing; see: frcrn info --help"),
        (("info", "a", "b"), "one argument too many: b"),
        (("info", "a", "--foo"), "no such option: --foo"),
        (("info", "a", "--json=1"), "--json takes no value"),
        (("info", "a", "--threads"), "--threads needs a value"),
        (("info", "a", "-t", "0"), "--threads 0; give a number, 1 to 4096"),
        (("info", "a", "-t", "1.5"), "--threads 1.5; give a whole number"),
        (("info", "a", "-t", "1", "-t", "2"), "--threads is given twice"),
        (("info", "a", "--high-pass", "--no-high-pass"), "give one"),
        (("denoise", "a", "b", "c.wav", "--attenuation-limit", "nan"), "--attenuation-limit nan"),
        (("denoise", "a", "b", "c.wav", "--attenuation-limit=-3"), "--attenuation-limit -3"),
    ],
)
def test_command_lines_that_cannot_be(words: tuple[str, ...], said: str, tool: Tool) -> None:
    assert said in tool.error(*words)


def test_help_and_version(tool: Tool) -> None:
    version = tool("--version").stdout.decode()
    assert version == f"frcrn {metadata.version('frcrn-export')}\n"
    overview = tool("--help").stdout.decode()
    for command in ("denoise", "stream", "verify", "bench", "info"):
        assert f"  {command} BUNDLE" in overview
        assert b"--onnxruntime FILE" in tool(command, "--help").stdout


def test_a_name_cannot_write_to_the_terminal(tool: Tool) -> None:
    assert "\x1b" not in tool.error("info", "\x1b[2Jx\ny")


def test_info(streaming: Path, bundle: Path, tool: Tool) -> None:
    said = json.loads(tool("info", streaming, "--json").stdout)
    assert (said["streaming"], said["offline"]) == (True, False)
    assert (said["chunk"], said["lookahead"], said["latency"]) == (50, 30, 80)
    assert b"Recordings    yes\nStreams       no" in tool("info", bundle).stdout


def test_bench(streaming: Path, bundle: Path, tool: Tool) -> None:
    said = json.loads(tool("bench", streaming, "--seconds", "0.2", "--json").stdout)
    assert 0 < said["hop_median_ms"] <= said["hop_p99_ms"]
    assert said["first_hop_ms"] > said["hop_median_ms"]
    assert said["stream_peak_memory_mb"] > 5
    assert "recording_real_time_factor" not in said
    said = json.loads(tool("bench", bundle, "--seconds", "0.2", "--json").stdout)
    assert said["recording_real_time_factor"] > 0


# ----------------------------------------------------------- the default model


@pytest.mark.slow
def test_the_default_model(default_bundle: Path, tool: Tool, tmp_path: Path) -> None:
    source = tmp_path / "in.wav"
    speech, rate = soundfile.read(ROOT / "exporters/assets/demo.noisy.flac", dtype="float32")
    written(source, speech, rate, "FLOAT")
    expected = python_denoise(default_bundle, source, tmp_path / "python.wav")
    assert tool("denoise", default_bundle, source, tmp_path / "cpp.wav").returncode == 0
    found = soundfile.read(tmp_path / "cpp.wav")[0]
    np.testing.assert_allclose(found, soundfile.read(expected)[0], rtol=0, atol=1e-6)
    data = wav(speech, rate)
    streams = (
        tool("stream", default_bundle, data=data).stdout,
        python_stream(data, default_bundle),
    )
    in_cpp, in_python = (np.frombuffer(stream, np.int16).astype(int) for stream in streams)
    assert in_cpp.shape == in_python.shape
    assert np.abs(in_cpp - in_python).max() <= 1
    assert np.mean(in_cpp == in_python) > 0.999


@pytest.mark.slow
def test_verify(default_bundle: Path, tool: Tool, tmp_path: Path) -> None:
    said = json.loads(tool("verify", default_bundle, "--json").stdout)
    assert {row["artifact"] for row in said["parity"]} >= {"core.onnx", "core.streaming.onnx"}
    assert all(row["passed"] and row["snr_db"] > row["floor_db"] for row in said["parity"])
    assert b"stream.speech" in tool("verify", default_bundle).stdout
    other = shutil.copytree(default_bundle, tmp_path / "other")
    vectors = dict(np.load(other / "parity.npz"))
    vectors["pipeline.speech.output"] *= np.float32(0.9)
    np.savez(other / "parity.npz", **vectors)
    described = json.loads((other / "manifest.json").read_bytes())
    (entry,) = (entry for entry in described["files"] if entry["path"] == "parity.npz")
    entry["sha256"] = sha256_of(other / "parity.npz")
    entry["bytes"] = (other / "parity.npz").stat().st_size
    (other / "manifest.json").write_text(json.dumps(described))
    done = tool("verify", other)
    assert done.returncode == 1
    assert b"pipeline.speech" in done.stderr
    assert b"NO" in done.stdout
