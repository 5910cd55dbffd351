import io
import itertools
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from frcrn_export.runtime.commands.denoise import denoise
from frcrn_export.runtime.commands.stream import stream
from frcrn_export.runtime.errors import AudioError, BackendError, BundleError, UserError
from frcrn_export.runtime.streaming import StreamingDenoiser, audio_stream
from tests.bundles import CENTRED, STFT, centred_manifest, manifest, write_bundle
from tests.int8_standins import add_int8, scaled
from tests.streaming_bundles import Core, write_streaming_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stream") / "bundle"
    return write_streaming_bundle(path, Core(lookahead=3), STFT, level="active_rms")


@pytest.fixture(scope="module")
def offline_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("stream") / "offline", manifest(stft=STFT))


def noise(samples: int, channels: int = 1) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((samples, channels))
    return (0.2 * values).astype(np.float32)


def wav(samples: int, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(samples, channels), rate, subtype, format="WAV")
    return file.getvalue()


def call(data: bytes, *args: object) -> Result:
    arguments = [str(arg) for arg in (*args, "--threads", 1)]
    return CliRunner().invoke(stream, arguments, input=data, catch_exceptions=True)


def report(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stderr)


def test_raw_pcm_is_what_the_python_loop_gives(bundle: Path) -> None:
    audio = noise(10_000)[:, 0]
    result = call(audio.tobytes(), bundle, "--format", "f32le")
    alone = StreamingDenoiser.open(bundle, threads=1)
    expected = np.concatenate([alone.process(audio), alone.flush()])
    np.testing.assert_array_equal(np.frombuffer(result.stdout_bytes, np.float32), expected)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_networks_of_other_rates(tmp_path: Path, rate: int) -> None:
    described = centred_manifest(rate)
    root = write_streaming_bundle(tmp_path / "b", Core(lookahead=1), CENTRED, described=described)
    audio = noise(30_000)[:, 0]
    result = call(audio.tobytes(), root, "--format", "f32le", "--json", "--gain", "1")
    assert report(result)["sample_rate"] == rate
    np.testing.assert_allclose(np.frombuffer(result.stdout_bytes, np.float32), audio, atol=1e-5)
    other = call(wav(16_000, rate=16_000), root, "--json")
    assert report(other)["delay_parts_ms"]["resampling"] > 0
    assert len(soundfile.read(io.BytesIO(other.stdout_bytes))[0]) == 16_000


def test_the_last_line_says_how_it_went(bundle: Path) -> None:
    data = noise(16_000)
    data[100:103] = np.nan
    result = call(data.tobytes() + b"x", bundle, "--format", "f32le")
    what, *_ = result.stderr.splitlines()
    assert what == f"{bundle}: gain, weights: gain (random: the output is not speech)"
    assert result.stderr.count("\n") == 2
    assert result.stderr.removeprefix(f"{what}\n").startswith("1.0 s, real-time factor 0.")
    assert "delay 100 ms (chunk 20 + window 20 + lookahead 60)" in result.stderr
    assert result.stderr.endswith(", 3 samples replaced, input truncated\n")
    assert call(wav(0), bundle, "--no-status").stderr == ""


def test_a_status_line_is_written_again_and_again(bundle: Path) -> None:
    result = call(wav(16_000), bundle, "--status")
    assert result.stderr.count("\r") > 1
    assert result.stderr.endswith("\n")


def test_the_last_line_as_json(bundle: Path) -> None:
    said = report(call(wav(48_000, rate=48_000, channels=2), bundle, "--json"))
    assert (said["model"], said["backend"], said["device"]) == ("gain", "onnxruntime", "cpu")
    assert said["weights"]["name"] == "gain"
    assert (said["sample_rate"], said["channels"], said["audio_seconds"]) == (48_000, 2, 1.0)
    parts = said["delay_parts_ms"]
    assert (parts["chunk"], parts["window"], parts["lookahead"]) == (20, 20, 60)
    assert 20 < parts["resampling"] < 150
    assert said["delay_ms"] == pytest.approx(sum(parts.values()), abs=0.2)
    assert said["real_time_factor"] > 0
    assert (said["replaced_samples"], said["passes"], said["truncated"]) == (0, 1, False)
    assert said["losses"] == ["the band above 8 kHz is gone"]
    assert report(call(wav(16_000), bundle, "--json"))["losses"] == []


def test_samples_clipped_into_integers_are_counted(bundle: Path) -> None:
    options = ("--gain", 20, "--no-restore-level")
    loud = StreamingDenoiser.open(bundle, threads=1, gain=20.0, restore_level=False)
    samples = soundfile.read(io.BytesIO(wav(16_000)), dtype="float32")[0]
    whole = np.concatenate([loud.process(samples), loud.flush()])
    count = np.count_nonzero(np.abs(whole) > 1)
    assert count > 100
    said = report(call(wav(16_000), bundle, "--json", *options))
    assert said["losses"] == [f"{count} samples clipped: integers end at full scale"]
    as_float = call(wav(16_000, subtype="FLOAT"), bundle, "--json", *options)
    assert report(as_float)["losses"] == []


def test_a_stream_too_slow_for_real_time_is_told_what_to_do(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # each call takes a second
    monkeypatch.setattr(audio_stream, "perf_counter", lambda: float(next(clock)))
    *_, last = call(wav(16_000), bundle).stderr.splitlines()
    assert last.startswith("too slow for real time: ")
    said = report(call(wav(16_000), bundle, "--json"))
    assert said["too_slow"] == last
    assert said["deadline_misses"] == said["calls"] > 0


def test_outputs_that_are_not_finite_are_reported(tmp_path: Path) -> None:
    """The pipe goes on; a file is not written."""
    bundle = write_streaming_bundle(tmp_path / "fp16", Core("one_pole_fp16", chunk=64), None)
    audio = noise(6_400, 2)
    audio[1_000, 1] = 65_530
    file = io.BytesIO()
    soundfile.write(file, audio, 16_000, "FLOAT", format="WAV")
    result = call(file.getvalue(), bundle, "--json")
    assert report(result)["failed_calls"] == 1
    after, _ = soundfile.read(io.BytesIO(result.stdout_bytes), dtype="float32")
    assert np.isfinite(after).all()
    assert after[-64:].any(axis=0).all()
    assert "1 calls gave NaN: silence instead" in call(file.getvalue(), bundle).stderr

    (tmp_path / "in.wav").write_bytes(file.getvalue())
    arguments = [bundle, tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--stream"]
    result = CliRunner().invoke(denoise, [str(arg) for arg in arguments])
    assert isinstance(result.exception, BackendError)
    assert "1 calls of onnxruntime gave samples that are NaN or infinite" in str(result.exception)
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_without_any_attenuation_a_file_and_a_pipe_give_the_input(
    bundle: Path, tmp_path: Path, rate: int
) -> None:
    data = wav(20_001, rate, subtype="FLOAT")
    piped = call(data, bundle, "--attenuation-limit", 0, "--json")
    assert report(piped)["attenuation_limit"] == 0
    before, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    after, _ = soundfile.read(io.BytesIO(piped.stdout_bytes), dtype="float32")
    if rate == 16_000:  # resampled there and back, noise loses what lies above 8 kHz
        np.testing.assert_array_equal(after, before)
    (tmp_path / "in.wav").write_bytes(data)
    arguments = [bundle, tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--stream", "-t", "1"]
    arguments += ["--attenuation-limit", 0]
    assert CliRunner().invoke(denoise, [str(arg) for arg in arguments]).exit_code == 0
    filed, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_array_equal(filed, after)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_a_file_gets_the_bytes_of_the_pipe(
    bundle: Path, tmp_path: Path, subtype: str, rate: int, channels: int
) -> None:
    data = wav(20_001, rate, channels, subtype)
    (tmp_path / "in.wav").write_bytes(data)
    arguments = [bundle, tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--stream", "-t", "1"]
    assert CliRunner().invoke(denoise, [str(arg) for arg in arguments]).exit_code == 0
    piped = soundfile.read(io.BytesIO(call(data, bundle).stdout_bytes), dtype="int32")
    filed = soundfile.read(tmp_path / "out.wav", dtype="int32")
    np.testing.assert_array_equal(piped[0], filed[0])
    assert (piped[1], filed[1]) == (rate, rate)
    assert len(filed[0]) == 20_001


def test_a_file_says_its_backend_too(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(wav(20_000))
    arguments = [bundle, tmp_path / "in.wav", "-o", tmp_path / "out", "--stream", "--json"]
    result = CliRunner().invoke(denoise, [str(arg) for arg in arguments])
    assert json.loads(result.stdout)["backend"] == "onnxruntime"


def test_windows_have_to_be_asked_for(offline_bundle: Path, tmp_path: Path) -> None:
    refused = call(wav(16_000), offline_bundle)
    assert isinstance(refused.exception, BundleError)
    assert "--windowed" in str(refused.exception)
    assert "onnx --streaming --model gain --random-weights 0 -o NEW_BUNDLE" in str(
        refused.exception
    )
    assert refused.stdout_bytes == b""
    result = call(wav(16_000), offline_bundle, "--windowed")
    assert "windows compute each sample 4 times" in result.stderr
    assert "delay 375 ms (chunk 250 + lookahead 125)" in result.stderr
    (tmp_path / "in.wav").write_bytes(wav(16_000))
    arguments = [offline_bundle, tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--windowed"]
    assert CliRunner().invoke(denoise, [str(arg) for arg in arguments]).exit_code == 2
    assert CliRunner().invoke(denoise, [*map(str, arguments), "--stream"]).exit_code == 0
    assert (tmp_path / "out.wav").read_bytes() == result.stdout_bytes


@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        (wav(10, rate=48_000), ["--rate", 16_000], "WAV with rate 48000, not 16000; leave out"),
        (wav(10), ["--channels", 2], "WAV with channels 1, not 2; leave out --channels"),
        (b"RIFF\0\0\0\0AVI ", [], "RIFF, but not WAV"),
        (b"fLaC\0\0\0\x22" + bytes(99), [], "FLAC, not WAV; convert it on the way: ffmpeg -i -"),
        (b"OggS" + bytes(99), [], "Ogg, not WAV"),
        (b"ID3\x04" + bytes(99), [], "MP3, not WAV"),
        (b"\0\0\0\x20ftypM4A " + bytes(99), [], "MP4, not WAV"),
        (b"", ["--rate", 10, "--format", "s16le"], "a sample rate of 10 Hz"),
        (b"", ["--channels", 65, "--format", "s16le"], "65 channels"),
        (wav(10), ["--gain", "nan"], "a gain of nan"),
        (wav(10), ["--gain", -1], "a gain of -1.0"),
    ],
)
def test_errors_are_one_line_and_no_audio(
    bundle: Path, data: bytes, options: list, error: str
) -> None:
    result = call(data, bundle, *options)
    assert isinstance(result.exception, (AudioError, UserError))
    assert error in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.exception.exit_code == 2
    assert result.stdout_bytes == b""


@pytest.mark.parametrize("begin", [b"", b"I", b"fLaD", b"fLa", b"\0\0\0\x20ftyq"])
def test_what_is_of_no_known_kind_is_not_taken_for_pcm(bundle: Path, begin: bytes) -> None:
    for data in {begin, begin + bytes(2_000)}:
        refused = call(data, bundle, "--rate", 16_000)
        assert isinstance(refused.exception, AudioError)
        assert "--format s16le" in str(refused.exception)
        assert refused.stdout_bytes == b""


def encoded(container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(8_000), 16_000, subtype, format=container)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((encoded(name, "PCM_16"), name) for name in ("AIFF", "AU", "CAF", "W64", "FLAC", "VOC")),
        (encoded("NIST", "PCM_16"), "NIST SPHERE"),
        (encoded("MP3", "MPEG_LAYER_III"), "MP3"),
        (b"\xff\xf3\x38\xc4" + bytes(99), "MP3"),
        (b"\xff\xf1\x60\x40" + bytes(99), "AAC"),
        (b"\x1aE\xdf\xa3" + bytes(99), "Matroska or WebM"),
        (b"#!AMR\n" + bytes(99), "AMR"),
        (b"RIFF\0\0\0\0AVI ", "RIFF, but not WAV"),
        (b"RIFX\0\0\0\0WAVE", "big-endian WAV"),
        (b"wvpk" + bytes(99), "WavPack"),
        (b"this is a text\n", "text"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip"),
    ],
)
def test_what_is_no_wav_is_refused_by_its_name(bundle: Path, data: bytes, kind: str) -> None:
    refused = call(data, bundle)
    assert isinstance(refused.exception, AudioError)
    assert kind in str(refused.exception)
    assert refused.stdout_bytes == b""
    count = len(data) // 2 * 2
    assert len(call(data, bundle, "--format", "s16le").stdout_bytes) == count


@pytest.mark.parametrize("options", [["--rate", "x"], ["--format", "mp3"], ["--channels", "0"]])
def test_options_that_make_no_sense(bundle: Path, options: list[str]) -> None:
    assert call(b"", bundle, *options).exit_code == 2


def test_a_terminal_is_no_pipe(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    result = call(b"", bundle)
    assert isinstance(result.exception, UserError)
    assert "standard input is a terminal" in str(result.exception)


def test_a_closed_stream_is_no_pipe(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed; use a pipe"):
        stream.main([str(bundle)], standalone_mode=False)


def command(bundle: Path, *options: str) -> list[str]:
    program = "from frcrn_export.cli import main; main()"
    return [sys.executable, "-c", program, "stream", str(bundle), "-t", "1", *options]


def test_hops_come_out_before_the_input_ends_and_ctrl_c_keeps_them(bundle: Path) -> None:
    with subprocess.Popen(
        command(bundle, "--json", "--format", "s16le"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(bytes(2 * 3_200))
        process.stdin.flush()
        first = process.stdout.read(2 * 640)  # of 0.2 s, while more may follow
        assert len(first) == 2 * 640
        process.send_signal(2)
        # Not communicate(), which would leave out what this pipe has read ahead.
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0
    assert (len(first) + len(rest)) / 32_000 == json.loads(errors)["audio_seconds"] >= 0.12


def test_a_second_wav_behind_the_first_is_said(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "two.wav").write_bytes(wav(3_000) + wav(5_000))
    for source in ("{} < two.wav", "cat two.wav | {}"):
        ran = subprocess.run(
            source.format(shlex.join(command(bundle, "--json"))),
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        said = json.loads(ran.stderr)
        assert said["losses"] == ["a second WAV behind the first was not read"]
        assert said["audio_seconds"] == round(3_000 / 16_000, 3)


def test_a_reader_that_goes_away_ends_it_quietly(bundle: Path) -> None:
    with subprocess.Popen(
        command(bundle, "--no-status", "--format", "s16le"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            while True:
                process.stdin.write(bytes(6_400))
                process.stdin.flush()
                time.sleep(0.01)
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")


def test_a_full_standard_output_is_one_line(bundle: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(bundle), input=wav(16_000), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    last = done.stderr.decode().splitlines()[-1]
    assert last == "error: standard output cannot be written (No space left on device)"


class Device:
    """A sound card: gives `hops` hops, then Ctrl-C."""

    latency = (0.01, 0.02)

    def __init__(self, hops: int, **options: object) -> None:
        self.hops, self.options = hops, options
        self.played: list[np.ndarray] = []

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        self.hops -= 1
        if self.hops < 0:
            raise KeyboardInterrupt
        return noise(frames), self.hops == 3

    def write(self, audio: np.ndarray) -> bool:
        self.played.append(audio)
        return False


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("sounddevice")
    module.PortAudioError = type("PortAudioError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_live_goes_from_microphone_to_speakers(bundle: Path, sound: ModuleType) -> None:
    devices: list[Device] = []

    def open_device(**options: object) -> Device:
        devices.append(Device(10, **options))
        return devices[0]

    sound.Stream = open_device  # type: ignore[attr-defined]
    said = report(call(b"", bundle, "--live", "--json"))
    (device,) = devices
    assert device.options["samplerate"] == 16_000
    played = np.concatenate(device.played)
    assert played.shape == (2 * 320 + 6 * 320, 1)  # silence ahead; 10 hops less the delay
    assert not played[:640].any()
    assert np.count_nonzero(played[640:]) > 1_900
    assert (said["dropouts"], said["delay_parts_ms"]["device"]) == (1, 70)
    assert said["delay_ms"] == 170


def test_live_says_what_is_missing(
    bundle: Path, sound: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise sound.PortAudioError("Invalid sample rate")

    sound.Stream = refuse  # type: ignore[attr-defined]
    result = call(b"", bundle, "--live")
    assert "no microphone and speakers at 16000 Hz (Invalid sample rate)" in str(result.exception)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = call(b"", bundle, "--live")
    assert 'run: pip install "frcrn-export[live]"' in str(result.exception)


def test_the_precision_can_be_chosen(tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "b", Core(), stft=None)
    add_int8(path, lambda model: scaled(model, 0.5), source="core.streaming.onnx")
    data = noise(2_000).tobytes()
    plain = call(data, path, "--format", "f32le", "--json")
    int8 = call(data, path, "--format", "f32le", "--json", "--precision", "int8")
    assert (report(plain)["precision"], report(int8)["precision"]) == ("fp32", "int8")
    halved = np.frombuffer(plain.stdout_bytes, np.float32) / 2
    np.testing.assert_allclose(np.frombuffer(int8.stdout_bytes, np.float32), halved, rtol=1e-6)
    missing = call(wav(10), path, "--precision", "fp16").exception
    assert isinstance(missing, BackendError)
    assert "no streaming fp16 file" in str(missing)
