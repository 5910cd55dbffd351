from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.runtime import AudioError, BundleError, Denoiser, UserError
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.audio.source import ArraySource
from frcrn_export.runtime.bundle.manifest import (
    FileEntry,
    Format,
    HighPass,
    Manifest,
    Padding,
    Profile,
    Segments,
    StftSpec,
)
from frcrn_export.runtime.denoiser import enhance
from frcrn_export.runtime.errors import BackendError
from tests.bundles import (
    CENTRED,
    SAMPLE_RATE,
    STFT,
    GainSession,
    centred_manifest,
    core_entry,
    frcrn_segments,
    manifest,
    write_bundle,
)
from tests.standin.install import engine_info


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    wave = np.random.default_rng(seed).standard_normal((channels, samples))
    return (0.1 * wave).astype(np.float32)


def run(
    wave: np.ndarray, session: GainSession, described: Manifest, restore_level: bool = True
) -> np.ndarray:
    blocks = enhance(ArraySource(wave, SAMPLE_RATE), session, described, restore_level)
    return np.concatenate(list(blocks), axis=1)


@given(
    samples=st.integers(1, 60_000),
    channels=st.integers(1, 2),
    above=st.sampled_from([0, 20_000, 100_000]),
    device=st.sampled_from(["cpu", "cuda"]),
)
@settings(deadline=None, max_examples=40)
def test_a_pass_through_core_gives_the_input(
    samples: int, channels: int, above: int, device: str
) -> None:
    wave = noise(channels, samples)
    session = GainSession(core_entry(), device=device)
    result = run(wave, session, manifest(segments=frcrn_segments(above)))
    np.testing.assert_array_equal(result, wave)


@pytest.mark.parametrize(
    "stft", [STFT, StftSpec(window_length=320, hop_length=160, fft_length=512)]
)
@pytest.mark.parametrize("samples", [1, 8_000, 27_840, 40_000, 50_001])
@pytest.mark.parametrize("above", [0, 100_000])
def test_a_pass_through_core_between_stfts_gives_the_input(
    stft: StftSpec, samples: int, above: int
) -> None:
    wave = noise(2, samples)
    described = manifest(stft=stft, level="active_rms", segments=frcrn_segments(above))
    result = run(wave, GainSession(core_entry(stft)), described)
    # Where the window begins, the result is divided by almost nothing; at the first sample by 0.
    np.testing.assert_allclose(result[:, 1:], wave[:, 1:], atol=2e-4)
    edge = stft.hop_length
    np.testing.assert_allclose(result[:, edge:-edge], wave[:, edge:-edge], atol=1e-6)


@pytest.mark.parametrize("sample_rate", [8_000, 48_000])
@pytest.mark.parametrize("above", [0, 480_000])
@pytest.mark.parametrize("samples", [1, 384, 30_000, 100_001])
def test_networks_of_any_rate_with_centred_frames(
    sample_rate: int, above: int, samples: int
) -> None:
    described = centred_manifest(sample_rate, above)
    denoiser = Denoiser(described, GainSession(core_entry(CENTRED), gain=0.5))
    wave = noise(2, samples)
    np.testing.assert_allclose(denoiser(wave), 0.5 * wave, atol=1e-5)


def test_other_rates_than_the_network_are_resampled() -> None:
    denoiser = Denoiser(centred_manifest(), GainSession(core_entry(CENTRED), gain=0.5))
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    result = denoiser(tone, sample_rate=16_000)
    assert result.shape == tone.shape
    np.testing.assert_allclose(result[400:-400], 0.5 * tone[400:-400], atol=1e-3)


def test_what_the_core_does_not_give_is_zero() -> None:
    """28000 samples are padded to 28000 and hold 86 frames, the overlap-add of 27840 samples."""
    wave = np.ones((1, 28_000), np.float32)
    result = run(wave, GainSession(core_entry(STFT)), manifest(stft=STFT))
    np.testing.assert_allclose(result[0, 1:27_840], 1.0, atol=1e-3)
    assert not result[0, 27_840:].any()


@pytest.mark.parametrize("level", ["active_rms", "peak"])
def test_the_level_is_restored_or_left(level: str) -> None:
    wave = np.stack((noise(1, 30_000)[0], 3 * noise(1, 30_000, seed=1)[0]))
    session = GainSession(core_entry(), gain=0.5)
    described = manifest(level=level)
    np.testing.assert_allclose(run(wave, session, described), 0.5 * wave, rtol=1e-5)
    levelled = run(wave, session, described, restore_level=False)
    if level == "peak":
        np.testing.assert_allclose(np.abs(levelled).max(axis=1), 0.5, rtol=1e-5)
    else:
        power = (2 * levelled.astype(np.float64)) ** 2
        for channel in power:
            active = channel[channel > channel.mean()].mean()
            assert 10 * np.log10(active) == pytest.approx(-25.0, abs=1e-3)


def test_channels_are_utterances_of_their_own() -> None:
    wave = np.stack((noise(1, 50_000)[0], 5 * noise(1, 50_000, seed=1)[0]))
    for above in (0, 100_000):
        described = manifest(stft=STFT, level="active_rms", segments=frcrn_segments(above))
        both = run(wave, GainSession(core_entry(STFT)), described)
        for channel in range(2):
            alone = run(wave[channel : channel + 1], GainSession(core_entry(STFT)), described)
            np.testing.assert_array_equal(both[channel : channel + 1], alone)


def test_a_core_of_one_length_is_given_that_length() -> None:
    described = manifest(
        padding=Padding(rule="multiple", size=16_384),
        segments=Segments(length=16_384, left=0, right=0, above=16_384),
    )
    for samples in (1, 16_384, 16_385, 75_165):
        session = GainSession(core_entry(samples=16_384))
        np.testing.assert_array_equal(run(noise(1, samples), session, described), noise(1, samples))
        assert set(session.shapes) == {(1, 1, 16_384)}


def test_windows_go_in_batches_on_a_gpu_and_one_by_one_on_a_cpu() -> None:
    wave = noise(3, 100_000)
    batches = {}
    for device in ("cpu", "cuda"):
        session = GainSession(core_entry(), device=device)
        run(wave, session, manifest(segments=frcrn_segments(0)))
        batches[device] = [shape[0] for shape in session.shapes]
    assert set(batches["cpu"]) == {1}
    assert max(batches["cuda"]) > 3
    assert sum(batches["cuda"]) == sum(batches["cpu"])


def engine_entry(stft: StftSpec | None, most: tuple[int, ...]) -> FileEntry:
    """A core as an engine that takes at most this shape."""
    profile = Profile(min=(1,) * len(most), opt=most, max=most)
    return msgspec.structs.replace(core_entry(stft), engine=engine_info(profile))


@pytest.mark.parametrize("stft", [None, STFT])
def test_what_is_too_long_for_an_engine_goes_through_it_in_windows(stft: StftSpec | None) -> None:
    longest, window = 28_000, 16_000
    if stft is None:
        most, frames = (3, 1, longest), (lambda samples: samples)
    else:
        most, frames = (3, 2, stft.bins, stft.frames(longest)), stft.frames
    described = manifest(stft=stft, padding=Padding(rule="multiple", size=400))
    for samples, windows in [(16_000, 0), (28_000, 0), (28_001, 3), (100_000, 8)]:
        session = GainSession(engine_entry(stft, most), device="cuda")
        wave = noise(1, samples)
        result = run(wave, session, described)
        np.testing.assert_allclose(result[:, 640:-640], wave[:, 640:-640], atol=1e-5)
        length = frames(window if windows else samples)
        assert {shape[-1] for shape in session.shapes} == {length}
        batches = [shape[0] for shape in session.shapes]
        assert (max(batches), sum(batches)) == (min(windows, 3) or 1, windows or 1)


@dataclass
class CountingSource:
    """Sixty-four minutes of audio that is made as it is read; remembers how far it was read."""

    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    frames: int = 64 * 60 * SAMPLE_RATE
    name: str = "made"
    read: list[int] = field(default_factory=list)

    def blocks(self) -> Iterator[np.ndarray]:
        self.read.append(0)
        for _ in range(64):
            self.read[-1] += 1
            yield np.full((1, 60 * SAMPLE_RATE), 0.25, np.float32)


def test_a_long_source_is_read_only_as_far_as_needed() -> None:
    source = CountingSource()
    described = manifest(level="active_rms", segments=frcrn_segments(0))
    blocks = enhance(source, GainSession(core_entry()), described, True)
    first = next(blocks)
    assert source.read == [64, 64, 1]
    assert first.shape[1] < SAMPLE_RATE
    assert first.shape[1] + sum(block.shape[1] for block in blocks) == source.frames
    assert source.read == [64, 64, 64]


def test_a_file_with_the_whole_pipeline_gets_raw_audio() -> None:
    wave = noise(2, 30_000)
    session = GainSession(core_entry(role="pipeline"), gain=0.5)
    result = run(wave, session, manifest(level="active_rms"))
    np.testing.assert_array_equal(result, 0.5 * wave)
    assert session.shapes == [(1, 30_000)] * 2
    with pytest.raises(BackendError, match="restores the level inside"):
        run(wave, session, manifest(level="active_rms"), restore_level=False)


def test_a_file_with_the_whole_pipeline_takes_no_windows() -> None:
    session = GainSession(core_entry(role="pipeline"), gain=0.5)
    described = manifest(level="active_rms", segments=frcrn_segments(16_000))
    with pytest.raises(BackendError, match="takes at most 1 s at once, got 1.9 s"):
        run(noise(1, 30_000), session, described)
    assert session.shapes == []


def tones(channels: int, samples: int, rate: int) -> np.ndarray:
    time = np.arange(samples) / rate
    return np.stack(
        [0.3 * np.sin(2 * np.pi * 440 * (1 + c) * time) for c in range(channels)]
    ).astype(np.float32)


def pass_through(above: int = 100_000) -> Denoiser:
    described = manifest(stft=STFT, level="active_rms", segments=frcrn_segments(above))
    return Denoiser(described, GainSession(core_entry(STFT)))


@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    samples=st.integers(1, 30_000),
    channels=st.one_of(st.none(), st.integers(1, 3)),
    above=st.sampled_from([0, 100_000]),
)
@settings(deadline=None, max_examples=30)
def test_shape_and_type_are_those_of_the_input(
    rate: int, samples: int, channels: int | None, above: int
) -> None:
    audio = tones(channels or 1, samples, rate)
    result = pass_through(above)(audio if channels else audio[0], rate)
    assert result.shape == ((channels, samples) if channels else (samples,))
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("above", [0, 100_000])
def test_a_pass_through_core_gives_the_input_at_any_rate(rate: int, above: int) -> None:
    audio = tones(2, 2 * rate, rate)
    result = pass_through(above)(audio, rate)
    inner = slice(rate // 4, -rate // 4)
    np.testing.assert_allclose(result[:, inner], audio[:, inner], atol=2e-3)


def test_the_input_is_not_changed() -> None:
    audio = tones(1, 20_000, 16_000)
    before = audio.copy()
    pass_through()(audio)
    np.testing.assert_array_equal(audio, before)


def test_silence_stays_silence() -> None:
    assert not pass_through()(np.zeros(20_000, np.float32)).any()


@pytest.mark.parametrize(("format", "backend"), [("onnx", "auto"), ("torchscript", "torchscript")])
def test_threads_share_a_denoiser(tmp_path: Path, format: Format, backend: str) -> None:
    described = manifest(stft=STFT, level="active_rms", segments=frcrn_segments(20_000))
    bundle = write_bundle(tmp_path / "bundle", described, gain=0.5, formats=(format,))
    denoiser = Denoiser.open(bundle, backend, threads=1)
    audios = [(1 + n) * tones(1, 10_000 + 3_000 * n, 16_000) / 10 for n in range(8)]
    alone = [denoiser(audio) for audio in audios]
    with ThreadPoolExecutor(4) as pool:
        for expected, result in zip(alone, pool.map(denoiser, audios), strict=True):
            np.testing.assert_array_equal(result, expected)


def test_a_bundle_is_opened_and_run(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", gain=0.25)
    denoiser = Denoiser.open(str(bundle))
    assert denoiser.session.backend == "onnxruntime"
    audio = tones(1, 5_000, 16_000)[0]
    np.testing.assert_allclose(denoiser(audio), 0.25 * audio, rtol=1e-6)


def test_errors_come_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        Denoiser.open(tmp_path)
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(BackendError, match="did you mean onnxruntime"):
        Denoiser.open(bundle, backend="onxruntime")
    denoiser = Denoiser.open(bundle)
    with pytest.raises(AudioError, match="no samples"):
        denoiser(np.zeros(0, np.float32))
    with pytest.raises(AudioError, match="1 samples are NaN"):
        denoiser(np.array([0.0, np.nan], np.float32))


@pytest.mark.parametrize("restore_level", [True, False])
@pytest.mark.parametrize(("samples", "rate"), [(50_000, SAMPLE_RATE), (9_000, 44_100)])
def test_a_limit_of_attenuation(
    tmp_path: Path, samples: int, rate: int, restore_level: bool
) -> None:
    """Whole and in windows, at the rate of the bundle and at another."""
    described = msgspec.structs.replace(
        manifest(level="peak"), segments=msgspec.structs.replace(frcrn_segments(), above=20_000)
    )
    denoiser = Denoiser.open(write_bundle(tmp_path / "b", described, gain=0.25))
    wave = noise(2, samples)
    enhanced = denoiser(wave, rate, restore_level)
    limited = denoiser(wave, rate, restore_level, attenuation_limit=6)
    share = 10 ** (-6 / 20)
    # The network here is a factor of 0.25.
    np.testing.assert_allclose(
        limited, enhanced * (share / 0.25 + 1 - share), atol=1e-5 if rate == SAMPLE_RATE else 1e-3
    )
    if restore_level and rate == SAMPLE_RATE:
        np.testing.assert_array_equal(denoiser(wave, attenuation_limit=0), wave)
    with pytest.raises(UserError, match="an attenuation limit of -1 dB; give 0 or more"):
        denoiser(wave, rate, attenuation_limit=-1)


def _hum(count: int) -> np.ndarray:
    """A voice-like sound on top of DC and of 5 Hz, not weaker than it."""
    time = np.arange(count) / SAMPLE_RATE
    return (0.01 * np.sin(2 * np.pi * 5 * time) + 0.1).astype(np.float32)


def test_dc_and_infrasound_do_not_rule_the_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = noise(1, 40_000)[0] * np.float32(0.01)
    described = msgspec.structs.replace(manifest(level="peak"), high_pass=HighPass())
    bundle = write_bundle(tmp_path / "b", described, gain=0.5)
    filtered = Denoiser.open(bundle)
    given = sound + _hum(len(sound))
    with caplog.at_level("WARNING"):
        done = filtered(given, restore_level=False)
    assert not caplog.records
    kept = filtered(sound, restore_level=False)
    middle = slice(4_000, -4_000)
    assert snr_db(kept[middle], done[middle]) > 20

    plain = Denoiser.open(bundle, high_pass=False)
    with caplog.at_level("WARNING"):
        untouched = plain(given)
    np.testing.assert_allclose(untouched, given / 2, atol=1e-6)
    assert "DC and infrasound are +" in caplog.text
    assert "take them out: --high-pass (high_pass=True)" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING"):  # of a measurement, whose sound is no user's
        Denoiser(plain.manifest, plain.session, finite=False)(given)
    assert not caplog.records


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_dc_leaves_no_edges_in_audio_of_another_rate(tmp_path: Path, rate: int) -> None:
    described = msgspec.structs.replace(manifest(level="peak"), high_pass=HighPass())
    denoiser = Denoiser.open(write_bundle(tmp_path / "b", described, gain=0.5))
    sound = noise(1, 40_000)
    with_dc = denoiser(sound + np.float32(0.5), rate)
    np.testing.assert_allclose(with_dc, denoiser(sound, rate), atol=1e-5)


def test_a_high_pass_can_be_added_to_a_network_published_without(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", manifest(level="peak"), gain=1.0)
    denoiser = Denoiser.open(bundle, high_pass=True)
    assert denoiser.manifest.high_pass == HighPass()
    assert np.abs(denoiser(_hum(32_000))[4_000:-4_000]).max() < 1e-3


@pytest.mark.parametrize("stft", [None, STFT])
def test_what_enters_a_core_is_bounded_to_what_its_precision_holds(
    stft: StftSpec | None, caplog: pytest.LogCaptureFixture
) -> None:
    described = manifest(stft=stft, level="none")
    entry = msgspec.structs.replace(core_entry(stft), input_limit=0.5)
    wave = noise(1, 32_000)[0]
    wave[20_000] = 60_000.0
    session = _Largest(entry)
    Denoiser(described, session)(wave)
    assert session.largest == 0.5
    assert "louder than core.onnx was verified for" in caplog.text
    session = _Largest(core_entry(stft))
    Denoiser(described, session)(wave)
    assert session.largest > 30_000


@dataclass
class _Largest(GainSession):
    """Remembers the largest absolute value that it was given."""

    largest: float = 0.0

    def run(self, inputs: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, float(np.abs(inputs).max()))
        return super().run(inputs)
