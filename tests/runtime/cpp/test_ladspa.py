"""The LADSPA plugin, in Debian's applyplugin and in a host of ours: Python's samples, later."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.streaming.audio_stream import AudioStream
from frcrn_export.runtime.streaming.network import open_network
from tests.runtime.cpp.ladspa import Plugin
from tests.streaming_bundles import Core, write_streaming_bundle

ROOT = Path(__file__).parents[3]
CHUNK, BLOCK = 50, 1_024


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ladspa") / "bundle"
    return write_streaming_bundle(path, Core("one_pole", CHUNK), stft=None, level="peak")


@pytest.fixture
def plugin(
    cpp_build: Path, bundle: Path, onnxruntime_library: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("FRCRN_BUNDLE", str(bundle))
    monkeypatch.setenv("FRCRN_ONNXRUNTIME", str(onnxruntime_library))
    monkeypatch.setenv("LADSPA_PATH", str(cpp_build / "ladspa"))
    return cpp_build / "ladspa" / "frcrn_ladspa.so"


@pytest.fixture
def host(plugin: Path) -> Iterator[list[Plugin]]:
    """Instances that are cleaned up."""
    instances: list[Plugin] = []
    yield instances
    for instance in instances:
        instance.cleanup()


def noise(channels: int = 1, samples: int = 20_000) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((channels, samples))).astype(np.float32)


def streamed(bundle: Path, wave: np.ndarray, rate: int = 16_000, limit: float | None = None):
    """Python's stream of [C, n], without what flush gives."""
    network = open_network(bundle, "onnxruntime-cpu", 1, batch=len(wave))
    return AudioStream(network, rate, len(wave), attenuation_limit=limit).process(wave)


def run_all(instance: Plugin, wave: np.ndarray, sizes: tuple[int, ...] = (BLOCK,)) -> np.ndarray:
    blocks, start = [], 0
    while start < wave.shape[1]:
        for size in sizes:
            block = wave[:, start : start + size]
            start += size
            if block.shape[1]:
                blocks.append(instance.run(block))
    return np.concatenate(blocks, axis=1)


def applied(*words: object) -> None:
    program = shutil.which("applyplugin")
    assert program, "applyplugin is missing; run: apt-get install ladspa-sdk"
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------ Debian's host


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize(("label", "channels"), [("frcrn_mono", 1), ("frcrn_stereo", 2)])
@pytest.mark.parametrize("limit", [100, 12])
def test_applyplugin_gives_the_samples_of_python(
    rate: int, label: str, channels: int, limit: int, plugin: Path, bundle: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "in.wav", noise(channels).T, rate, "PCM_16")
    words = (tmp_path / "in.wav", tmp_path / "out.wav", plugin.name, label, limit, 1)
    applied("-s1", *words)
    found = soundfile.read(tmp_path / "out.wav", dtype="int16", always_2d=True)[0].T
    wave = soundfile.read(tmp_path / "in.wav", dtype="float32", always_2d=True)[0].T
    expected = streamed(bundle, wave, rate, None if limit == 100 else float(limit))
    instance = Plugin(plugin, channels, rate)
    instance.activate()
    instance.run(np.zeros((channels, 1)))
    latency = int(instance.controls[2])
    instance.cleanup()
    assert not found[:, :latency].any()
    heard = found[:, latency : latency + expected.shape[1]]
    rounded = np.floor(np.clip(expected, -1, 1 - 2**-15) * 32_768)  # as applyplugin rounds
    assert np.abs(heard - rounded).max() <= (0 if rate == 16_000 else 1)


@pytest.mark.slow
def test_applyplugin_with_the_default_model(
    plugin: Path, default_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FRCRN_BUNDLE", str(default_bundle))
    speech, rate = soundfile.read(ROOT / "exporters/assets/demo.noisy.flac", dtype="int16")
    soundfile.write(tmp_path / "in.wav", speech, rate)
    applied("-s1", tmp_path / "in.wav", tmp_path / "out.wav", plugin.name, "frcrn_mono", 100, 1)
    found = soundfile.read(tmp_path / "out.wav", dtype="int16")[0]
    expected = streamed(default_bundle, (speech / np.float32(32_768))[None])[0]
    heard = found[BLOCK + 128 :][: len(expected)]
    np.testing.assert_array_equal(heard, np.floor(expected * 32_768))


def test_analyseplugin_shows_the_ports(plugin: Path) -> None:
    program = shutil.which("analyseplugin")
    assert program, "analyseplugin is missing; run: apt-get install ladspa-sdk"
    shown = subprocess.run([program, plugin.name], capture_output=True, text=True, check=True)
    assert '"Attenuation limit (dB)" input, control, 0 to 100, default 100' in shown.stdout
    assert '"Wait for the worker" input, control, toggled, default 1' in shown.stdout
    assert shown.stdout.count('"latency" output, control') == 2
    assert shown.stdout.count('"active" output, control') == 2


# -------------------------------------------------------------- our own host


@pytest.mark.parametrize("sizes", [(1, 5, 64), (480,), (4_096,), (10_000, 1)])
def test_blocks_of_any_length(
    sizes: tuple[int, ...], plugin: Path, bundle: Path, host: list[Plugin]
) -> None:
    instance = Plugin(plugin, 2)
    host.append(instance)
    instance.activate()
    wave = noise(2)
    found = run_all(instance, wave, sizes)
    latency = BLOCK + CHUNK
    assert (instance.controls[2], instance.controls[3]) == (latency, 1)
    expected = streamed(bundle, wave)
    np.testing.assert_array_equal(found[:, latency:], expected[:, : found.shape[1] - latency])


@pytest.mark.parametrize("outputs", [(0, 1), (1, 0)])
def test_outputs_in_the_buffers_of_inputs(
    outputs: tuple[int, int], plugin: Path, host: list[Plugin]
) -> None:
    apart, in_place = Plugin(plugin, 2), Plugin(plugin, 2)
    host += [apart, in_place]
    wave = noise(2, 10_000)
    for instance in host:
        instance.activate()
    expected = [apart.run(wave[:, n : n + 2_500]) for n in range(0, 10_000, 2_500)]
    found = [in_place.run(wave[:, n : n + 2_500], outputs) for n in range(0, 10_000, 2_500)]
    np.testing.assert_array_equal(np.concatenate(found, 1), np.concatenate(expected, 1))


def test_the_limit_may_change_while_it_runs(plugin: Path, host: list[Plugin]) -> None:
    instance = Plugin(plugin, 1)
    host.append(instance)
    instance.activate()
    wave, latency = noise(), BLOCK + CHUNK
    instance.run(wave)
    instance.controls[0] = 0  # no attenuation: the input
    instance.run(wave)
    found = instance.run(wave)
    np.testing.assert_array_equal(found[0, latency:], wave[0, :-latency])
    instance.controls[0] = np.nan  # of no meaning: it stays
    found = instance.run(wave)
    np.testing.assert_array_equal(found[0, latency:], wave[0, :-latency])


def test_without_waiting_what_is_late_is_silence(plugin: Path, host: list[Plugin]) -> None:
    """A callback only copies: what the worker cannot have done yet is silent, the rest in time."""
    instance = Plugin(plugin, 1)
    host.append(instance)
    instance.activate()
    instance.controls[:2] = 0
    wave = noise(1, 100_000)
    found = run_all(instance, wave, (64,))
    latency = BLOCK + CHUNK
    moved = wave[0, :-latency]
    heard = found[0, latency:]
    assert np.all((heard == 0) | (heard == moved))


def test_instances_are_of_their_own(plugin: Path, bundle: Path, host: list[Plugin]) -> None:
    waves = [noise(1, 8_000) * scale for scale in (1, 0.5, 0.25)]
    host += [Plugin(plugin, 1) for _ in waves]
    for instance in host:
        instance.activate()
    found: list[list[np.ndarray]] = [[] for _ in waves]
    for start in range(0, 8_000, 500):
        for index, instance in enumerate(host):
            found[index].append(instance.run(waves[index][:, start : start + 500]))
    for blocks, wave in zip(found, waves, strict=True):
        heard = np.concatenate(blocks, axis=1)[:, BLOCK + CHUNK :]
        np.testing.assert_array_equal(heard, streamed(bundle, wave)[:, : heard.shape[1]])


def test_it_begins_anew_when_it_is_activated(plugin: Path, host: list[Plugin]) -> None:
    instance = Plugin(plugin, 2)
    host.append(instance)
    np.testing.assert_array_equal(instance.run(noise(2)), noise(2))  # not active yet
    instance.controls[0] = 20
    runs = []
    for _ in range(3):
        instance.activate()
        runs.append(instance.run(noise(2)))
        instance.deactivate()
    for again in runs[1:]:
        np.testing.assert_array_equal(again, runs[0])
    assert not runs[0][:, : BLOCK + CHUNK].any()
    Plugin(plugin, 1).cleanup()  # never activated
    active = Plugin(plugin, 1)
    active.activate()
    active.activate()
    active.cleanup()  # never deactivated


def test_without_a_bundle_audio_passes_through(
    plugin: Path,
    bundle: Path,
    host: list[Plugin],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in (str(tmp_path / "none"), "\x1b[2J"):
        monkeypatch.setenv("FRCRN_BUNDLE", name)
        host.append(Plugin(plugin, 2))
    monkeypatch.setenv("FRCRN_BUNDLE", str(bundle))
    host.append(Plugin(plugin, 2, sample_rate=1))
    host.append(Plugin(plugin, 2, sample_rate=2**32 + 16_000))
    monkeypatch.setenv("FRCRN_ONNXRUNTIME", str(tmp_path / "none.so"))
    for instance in host:
        instance.activate()
        wave = noise(2, 5_000)
        np.testing.assert_array_equal(instance.run(wave, (1, 0)), wave)
        assert list(instance.controls[2:]) == [0, 0]
    assert capfd.readouterr() == ("", "")


def test_the_bundle_has_default_places(
    plugin: Path,
    bundle: Path,
    host: list[Plugin],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FRCRN_BUNDLE", "")
    monkeypatch.setenv("XDG_DATA_DIRS", f"relative:{tmp_path}/system")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder, active in (("none", 0), ("system", 1), ("home/.local/share", 1)):
        if active:
            shutil.copytree(bundle, tmp_path / folder / "frcrn" / "default")
        host.append(Plugin(plugin, 1))
        host[-1].activate()
        host[-1].run(np.zeros((1, 10)))
        assert host[-1].controls[3] == active
