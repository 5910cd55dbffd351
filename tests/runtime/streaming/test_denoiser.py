from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime import AudioError, BackendError, BundleError, Denoiser, UserError
from frcrn_export.runtime.audio.level import measure_gain
from frcrn_export.runtime.bundle.manifest import StftSpec
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from tests.bundles import (
    CENTRED,
    STFT,
    GainSession,
    centred_manifest,
    core_entry,
    manifest,
    write_bundle,
)
from tests.streaming_bundles import Core, write_streaming_bundle

CORES = {
    "identity": (Core(), STFT),
    "lookahead": (Core(lookahead=14), STFT),
    "chunk": (Core(chunk=3, lookahead=2), STFT),
    "long chunk": (Core(chunk=16, lookahead=5), STFT),
    "end": (Core("halved_end", chunk=4, lookahead=3), STFT),
    "wave": (Core(chunk=64), None),
    "late wave": (Core(chunk=64, lookahead=100), None),
    "one pole": (Core("one_pole", chunk=16), None),
}
Open = Callable[..., StreamingDenoiser]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("streaming")
    return {
        name: write_streaming_bundle(root / name, core, stft, level="active_rms")
        for name, (core, stft) in CORES.items()
    }


def noise(samples: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(samples)
    return (0.1 * values).astype(np.float32)


class OfflineSession(GainSession):
    """What the cores of these tests do to a whole utterance."""

    kind = "delay"

    def run(self, inputs: np.ndarray) -> np.ndarray:
        output = inputs.copy()
        if self.kind == "halved_end":
            output[..., -2:] *= np.float32(0.5)
        if self.kind == "one_pole":
            for n in range(1, output.shape[-1]):
                output[..., n] = inputs[..., n] + np.float32(0.5) * output[..., n - 1]
        return output


def offline(name: str, audio: np.ndarray, gain: float) -> np.ndarray:
    core, stft = CORES[name]
    session = OfflineSession(core_entry(stft))
    session.kind = core.kind
    scale = np.float32(gain)
    return Denoiser(manifest(stft=stft), session)(audio * scale) / scale


def run(denoiser: StreamingDenoiser, audio: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The whole stream, cut into chunks of these lengths and again, checked for its delay."""
    parts, given, returned = [], 0, 0
    while given < len(audio):
        for length in lengths:
            parts.append(denoiser.process(audio[given : given + length]))
            given = min(len(audio), given + length)
            returned += len(parts[-1])
            assert given - denoiser.latency_samples < returned <= given
    parts.append(denoiser.flush())
    return np.concatenate(parts)


@given(
    name=st.sampled_from(sorted(CORES)),
    samples=st.one_of(st.integers(0, 3000), st.sampled_from([15_999, 16_000, 27_999, 28_000])),
    lengths=st.lists(st.integers(0, 2000), min_size=1, max_size=5).filter(any),
)
@settings(max_examples=60)
def test_a_stream_equals_the_offline_network(
    bundles: dict[str, Path], name: str, samples: int, lengths: list[int]
) -> None:
    audio = noise(samples)
    denoiser = StreamingDenoiser.open(bundles[name], threads=1, gain=0.7)
    streamed = run(denoiser, audio, lengths)
    assert streamed.dtype == np.float32
    expected = offline(name, audio, 0.7) if samples else audio
    np.testing.assert_array_equal(streamed, expected)


@pytest.mark.parametrize("spec", [(400, 100, 512), (400, 160, 400)])
def test_windows_that_overlap_otherwise_stream_too(tmp_path: Path, spec: tuple) -> None:
    stft = StftSpec(window_length=spec[0], hop_length=spec[1], fft_length=spec[2])
    bundle = write_streaming_bundle(tmp_path / "bundle", Core(chunk=2, lookahead=3), stft)
    audio = noise(20_000)
    expected = Denoiser(manifest(stft=stft), GainSession(core_entry(stft)))(audio)
    streamed = run(StreamingDenoiser.open(bundle), audio, [777])
    np.testing.assert_allclose(streamed, expected, atol=1e-6)


@pytest.mark.parametrize("sample_rate", [8_000, 48_000])
@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_centred_frames_stream_at_any_rate(tmp_path: Path, sample_rate: int, mode: str) -> None:
    stft = msgspec.structs.replace(CENTRED, pad_mode=mode)
    described = msgspec.structs.replace(centred_manifest(sample_rate), stft=stft)
    root = write_streaming_bundle(
        tmp_path / "b", Core("halved_end", chunk=2, lookahead=3), stft, described=described
    )
    audio = noise(20_000)

    session = OfflineSession(core_entry(stft))
    session.kind = "halved_end"
    expected = Denoiser(described, session)(audio)
    gain = float(measure_gain(lambda: [audio[None]], "active_rms")[0])
    for lengths in ([777], [20_000], [1, 5_000]):
        streamed = run(StreamingDenoiser.open(root, gain=gain), audio, lengths)
        np.testing.assert_allclose(streamed, expected, atol=1e-5)
    many = MultiStream.open(root, max_streams=2)
    streams = [many.add(gain) for _ in range(2)]
    parts = [many.process(dict.fromkeys(streams, part)) for part in np.split(audio, 4)]
    rest = many.flush_all()
    for stream in streams:
        got = np.concatenate([*(part[stream] for part in parts), rest[stream]])
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(CORES))
def test_chunking_changes_no_sample_with_the_causal_level(
    bundles: dict[str, Path], name: str
) -> None:
    audio = noise(20_000) * np.linspace(0.1, 3, 20_000, dtype=np.float32)
    denoiser = StreamingDenoiser.open(bundles[name], threads=1)
    results = []
    for lengths in ([20_000], [1, 0, 319, 500], [160]):
        results.append(run(denoiser, audio, lengths))
        denoiser.reset()
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_the_level_is_restored_sample_by_sample(bundles: dict[str, Path]) -> None:
    audio = noise(30_000) * np.linspace(0.01, 3, 30_000, dtype=np.float32)
    streamed = run(StreamingDenoiser.open(bundles["lookahead"]), audio, [320])
    inner = slice(640, 27_000)  # the STFT leaves something out at both ends
    np.testing.assert_allclose(streamed[inner], audio[inner], rtol=1e-3, atol=1e-4)


def test_the_level_can_be_left(bundles: dict[str, Path]) -> None:
    audio = noise(100_000)
    denoiser = StreamingDenoiser.open(bundles["identity"], restore_level=False)
    streamed = run(denoiser, audio, [5_000])[60_000:99_000]
    gain = measure_gain(lambda: [audio[None]], "active_rms")[0]
    np.testing.assert_allclose(streamed, gain * audio[60_000:99_000], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "chunk", "window", "lookahead"),
    [("lookahead", 320, 320, 4480), ("chunk", 960, 320, 640), ("late wave", 64, 0, 100)],
)
def test_the_delay_is_stated_by_its_causes(
    bundles: dict[str, Path], name: str, chunk: int, window: int, lookahead: int
) -> None:
    latency = StreamingDenoiser.open(bundles[name]).latency
    assert (latency.chunk, latency.window, latency.lookahead) == (chunk, window, lookahead)
    assert latency.samples == chunk + window + lookahead


@pytest.mark.parametrize("name", sorted(CORES))
def test_the_stated_delay_is_the_largest_that_occurs(bundles: dict[str, Path], name: str) -> None:
    denoiser = StreamingDenoiser.open(bundles[name])
    returned = largest = 0
    for index, sample in enumerate(noise(2 * denoiser.latency_samples)[:, None]):
        returned += len(denoiser.process(sample))
        largest = max(largest, index + 1 - returned)
    assert largest == denoiser.latency_samples - 1


def test_reset_forgets_everything(bundles: dict[str, Path]) -> None:
    for name, bundle in bundles.items():
        audio = noise(5_000)
        expected = run(StreamingDenoiser.open(bundle, threads=1), audio, [700])
        denoiser = StreamingDenoiser.open(bundle, threads=1)
        denoiser.process(10 * noise(4_321, seed=1))
        denoiser.process(np.array([np.nan]))
        denoiser.reset()
        assert denoiser.replaced_samples == 0
        np.testing.assert_array_equal(run(denoiser, audio, [700]), expected, err_msg=name)


def test_samples_that_are_not_finite_become_zero_and_are_counted(bundles: dict[str, Path]) -> None:
    audio = noise(5_000)
    bad = audio.astype(np.float64)
    bad[[100, 2_000, 2_001, 4_999]] = [np.nan, np.inf, -np.inf, 1e300]
    audio[[100, 2_000, 2_001, 4_999]] = 0
    before = bad.copy()
    first, second = (StreamingDenoiser.open(bundles["one pole"]) for _ in range(2))
    np.testing.assert_array_equal(run(first, bad, [640]), run(second, audio, [640]))
    assert (first.replaced_samples, second.replaced_samples) == (4, 0)
    np.testing.assert_array_equal(bad, before)


@pytest.mark.parametrize("name", ["lookahead", "one pole"])
def test_silence_stays_silence(bundles: dict[str, Path], name: str) -> None:
    assert not run(StreamingDenoiser.open(bundles[name]), np.zeros(20_000, np.float32), [999]).any()


def test_results_are_the_callers_own(bundles: dict[str, Path]) -> None:
    denoiser = StreamingDenoiser.open(bundles["identity"])
    first = denoiser.process(noise(2_000))
    kept = first.copy()
    denoiser.process(noise(2_000, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_two_streams_share_nothing(bundles: dict[str, Path]) -> None:
    one, other = (StreamingDenoiser.open(bundles["one pole"]) for _ in range(2))
    expected = run(StreamingDenoiser.open(bundles["one pole"]), noise(1_000), [1_000])
    got = []
    for part in np.split(noise(1_000), 10):
        got.append(one.process(part))
        other.process(-5 * part)
    np.testing.assert_array_equal(np.concatenate([*got, one.flush()]), expected)


def test_after_flush_comes_reset(bundles: dict[str, Path]) -> None:
    denoiser = StreamingDenoiser.open(bundles["identity"])
    assert len(denoiser.flush()) == 0
    with pytest.raises(UserError, match=r"call reset\(\) before the next process\(\)"):
        denoiser.process(noise(10))
    with pytest.raises(UserError, match=r"call reset\(\)"):
        denoiser.flush()
    denoiser.reset()
    assert len(denoiser.process(noise(640))) == 320


def test_chunks_are_mono_floats(bundles: dict[str, Path]) -> None:
    denoiser = StreamingDenoiser.open(bundles["identity"])
    with pytest.raises(AudioError, match=r"got int16; .*astype\('float32'\) / 32768"):
        denoiser.process(np.zeros(3, np.int16))
    with pytest.raises(AudioError, match="got list"):
        denoiser.process([0.0])
    with pytest.raises(AudioError, match=r"got shape \[2, 5\].*MultiStream"):
        denoiser.process(np.zeros((2, 5), np.float32))
    assert len(denoiser.process(np.zeros(0, np.float32))) == 0


def test_errors_come_at_opening(bundles: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"16000 Hz, not 48000; .*ResampleStream\(48000, 16000"):
        StreamingDenoiser.open(bundles["identity"], sample_rate=48_000)
    with pytest.raises(BackendError, match="did you mean onnxruntime"):
        StreamingDenoiser.open(bundles["identity"], backend="onxruntime")
    with pytest.raises(BackendError, match="torchscript does not run streaming cores"):
        StreamingDenoiser.open(bundles["identity"], backend="torchscript")
    offline_only = write_bundle(tmp_path / "offline")
    with pytest.raises(BundleError, match=r"frcrn-export onnx --streaming --model gain"):
        StreamingDenoiser.open(offline_only)


def test_what_was_opened_is_said(bundles: dict[str, Path]) -> None:
    denoiser = StreamingDenoiser.open(str(bundles["identity"]), "onnxruntime-cpu", 1)
    assert (denoiser.backend, denoiser.device) == ("onnxruntime-cpu", "cpu")
    assert denoiser.sample_rate == 16_000


@pytest.mark.parametrize("restore_level", [True, False])
@pytest.mark.parametrize("name", CORES)
@settings(deadline=None, max_examples=8)
@given(samples=st.integers(1, 3_000), lengths=st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_a_limit_of_attenuation(
    bundles: dict[str, Path], name: str, restore_level: bool, samples: int, lengths: list[int]
) -> None:
    audio = noise(samples)

    def result(gain: float | None, **options: float | None) -> np.ndarray:
        denoiser = StreamingDenoiser.open(
            bundles[name], gain=gain, restore_level=restore_level, **options
        )
        return run(denoiser, audio, lengths)

    share = np.float32(10 ** (-6 / 20))
    scaled = audio if restore_level else 3 * audio
    limited = share * scaled + (1 - share) * result(3.0)
    np.testing.assert_allclose(result(3.0, attenuation_limit=6.0), limited, atol=1e-6)
    if restore_level:  # with the level that follows the input
        np.testing.assert_array_equal(result(None, attenuation_limit=0.0), audio)


@pytest.mark.parametrize("name", CORES)
@settings(deadline=None, max_examples=8)
@given(lengths=st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_dc_is_taken_out_whatever_the_blocks(
    bundles: dict[str, Path], name: str, lengths: list[int]
) -> None:
    audio = noise(6_000)

    def result(wave: np.ndarray, high_pass: bool | None, blocks: list[int]) -> np.ndarray:
        denoiser = StreamingDenoiser.open(bundles[name], gain=1.0, high_pass=high_pass)
        return run(denoiser, wave, blocks)

    filtered = result(audio, True, [len(audio)])
    np.testing.assert_array_equal(result(audio, True, lengths), filtered)
    with_dc = result(audio + np.float32(0.5), True, lengths)
    np.testing.assert_allclose(with_dc, filtered, atol=1e-5)  # no click at its end
    assert not np.allclose(result(audio, None, lengths), filtered, atol=1e-4)
