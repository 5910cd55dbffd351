"""The whole matrix: what libsndfile reads, written under each suffix that can be written."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio import formats
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.formats import AudioFormat, output_format, written_suffixes
from frcrn_export.runtime.audio.source import ArraySource
from frcrn_export.runtime.audio.writer import FileWriter
from frcrn_export.runtime.errors import AudioError

FRAMES = 5_047  # odd, and a multiple of no codec's block
# What libsndfile lists but does not encode, or does not read back.
NOT_MADE = {"MPEG_LAYER_I", "MPEG_LAYER_II", "DWVW_12", "DWVW_16", "DWVW_24"}
LOSSLESS_BITS = {
    "PCM_16": 16, "PCM_24": 24, "PCM_32": 24, "FLOAT": 24, "DOUBLE": 24,
    "ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 24,
}  # fmt: skip
# The largest RMS error of a tone of half of full scale.
ERRORS = {
    "PCM_S8": 0.005, "PCM_U8": 0.005, "ULAW": 0.006, "ALAW": 0.005, "DPCM_8": 0.01,
    "DPCM_16": 1e-3, "IMA_ADPCM": 0.01, "MS_ADPCM": 0.01, "GSM610": 0.05, "G721_32": 0.01,
    "G723_24": 0.02, "G723_40": 0.01, "NMS_ADPCM_16": 0.03, "NMS_ADPCM_24": 0.02,
    "NMS_ADPCM_32": 0.01, "VORBIS": 0.02, "OPUS": 0.04, "MPEG_LAYER_III": 0.03,
}  # fmt: skip


def allowed(subtype: str) -> float:
    bits = LOSSLESS_BITS.get(subtype)
    return 0.6 * 2.0 ** (1 - bits) if bits else ERRORS[subtype]


def tone(frames: int = FRAMES, channels: int = 1) -> np.ndarray:
    phases = np.arange(frames)[:, None] * 0.05 * (1 + np.arange(channels))
    return (0.5 * np.sin(phases)).astype(np.float32)  # [n, C]


@cache
def kinds() -> list[tuple[str, str]]:
    """Every container and subtype that libsndfile writes here, and reads."""
    return [
        (container, subtype)
        for container in soundfile.available_formats()
        if container not in ("RAW", "SD2", "SDS")
        for subtype in soundfile.available_subtypes(container)
        if subtype not in NOT_MADE and (container, subtype) != ("WAV", "MPEG_LAYER_III")
    ]


def read(path: Path) -> tuple[FileSource, np.ndarray]:
    source = FileSource(path)
    return source, np.concatenate(list(source.blocks()), axis=1)


@pytest.mark.parametrize(("container", "subtype"), kinds())
def test_each_kind_becomes_each_other(tmp_path: Path, container: str, subtype: str) -> None:
    path = tmp_path / "in"
    rate = {"WVE": 8_000, "VOC": 8_000, "XI": 44_100}.get(container, 16_000)
    soundfile.write(path, tone(), rate, subtype, format=container)
    source, before = read(path)
    assert (source.format, source.subtype) == (container, subtype)
    assert FRAMES <= source.frames < FRAMES + 512
    rms = np.sqrt(np.mean((before[:, :FRAMES] - tone().T) ** 2))
    assert rms < allowed(subtype)
    for suffix, wanted in written_suffixes().items():
        target = tmp_path / "out" / f"a{suffix}"
        if suffix in (".opus", ".htk") and rate == 44_100:
            with pytest.raises(AudioError, match="does not take 44100 Hz"):
                FileWriter(target, like=source)
            continue
        with FileWriter(target, like=source) as writer:
            for block in source.blocks():
                writer.write(block)
        after, samples = read(target)
        assert after.format == ("WAVEX" if (container, wanted) == ("WAVEX", "WAV") else wanted)
        assert (after.frames, after.channels) == (source.frames, 1)
        assert after.sample_rate == source.sample_rate
        assert AudioFormat(after.format, after.subtype) == writer.format
        assert np.sqrt(np.mean((samples - before) ** 2)) < allowed(after.subtype)
    assert list(tmp_path.rglob("*.partial")) == []


def chosen(name: str, like: tuple[str, str], rate: int = 16_000, **how: int) -> AudioFormat:
    samples = np.zeros((how.get("channels", 1), how.get("frames", 1_010)), np.float32)
    return output_format(Path(name), ArraySource(samples, rate), AudioFormat(*like))


@pytest.mark.parametrize(
    ("name", "like", "expected"),
    [
        ("o.wav", ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16")),
        ("o.flac", ("WAV", "PCM_24"), ("FLAC", "PCM_24")),
        ("o.flac", ("WAV", "PCM_32"), ("FLAC", "PCM_24")),
        ("o.flac", ("WAV", "FLOAT"), ("FLAC", "PCM_24")),
        ("o.flac", ("WAV", "ULAW"), ("FLAC", "PCM_16")),
        ("o.wav", ("FLAC", "PCM_24"), ("WAV", "PCM_24")),
        ("o.wav", ("RF64", "ULAW"), ("WAV", "ULAW")),
        ("o.w64", ("WAV", "DOUBLE"), ("W64", "DOUBLE")),
        ("o.aiff", ("WAV", "ULAW"), ("AIFF", "PCM_16")),
        ("o.aiff", ("WAV", "FLOAT"), ("AIFF", "FLOAT")),
        ("o.AIF", ("AIFF", "PCM_S8"), ("AIFF", "PCM_S8")),
        ("o.au", ("WAV", "DOUBLE"), ("AU", "DOUBLE")),
        ("o.caf", ("CAF", "ALAC_24"), ("CAF", "ALAC_24")),
        ("o.wav", ("CAF", "ALAC_24"), ("WAV", "PCM_24")),
        ("o.opus", ("WAV", "PCM_16"), ("OGG", "OPUS")),
        ("o.ogg", ("OGG", "OPUS"), ("OGG", "VORBIS")),
        ("o.oga", ("WAV", "PCM_16"), ("OGG", "VORBIS")),
        ("o.opus", ("OGG", "VORBIS"), ("OGG", "OPUS")),
        ("o.mp3", ("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III")),
        ("o.wav", ("WAV", "IMA_ADPCM"), ("WAV", "IMA_ADPCM")),  # 1010 frames are two blocks
    ],
)
def test_the_suffix_decides_and_depth_is_kept(
    name: str, like: tuple[str, str], expected: tuple[str, str]
) -> None:
    assert chosen(name, like, 8_000) == AudioFormat(*expected)


def test_a_codec_of_blocks_is_kept_where_the_length_is_one_of_its_own() -> None:
    assert chosen("o.wav", ("WAV", "IMA_ADPCM"), frames=1_011).subtype == "PCM_16"


@pytest.mark.parametrize(
    ("name", "rate", "channels", "said"),
    [
        ("o.xyz", 16_000, 1, "'.xyz' is no audio format; use .wav"),
        ("o", 16_000, 1, "'' is no audio format"),
        ("o.m4a", 16_000, 1, "'.m4a' is no audio format"),
        ("o.sd2", 16_000, 1, "'.sd2' is read, not written"),
        ("o.opus", 44_100, 1, "Opus does not take 44100 Hz.*48000 Hz.*use .wav or .flac"),
        ("o.mp3", 96_000, 1, "MP3 does not take 96000 Hz"),
        ("o.mp3", 16_000, 3, "MP3 does not take 16000 Hz with 3 channels"),
        ("o.flac", 16_000, 9, "FLAC does not take 16000 Hz with 9 channels"),
        ("o.flac", 768_000, 1, "FLAC does not take 768000 Hz"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(
    name: str, rate: int, channels: int, said: str
) -> None:
    with pytest.raises(AudioError, match=said) as caught:
        chosen(name, ("WAV", "PCM_16"), rate, channels=channels)
    assert "\n" not in str(caught.value)


class Long(ArraySource):
    """As many frames as wanted, without the memory."""

    @property
    def frames(self) -> int:
        return int(1.2e9)


def test_wav_beyond_4_gib_is_rf64_and_small_containers_are_refused() -> None:
    def format_of(name: str, subtype: str = "PCM_32") -> AudioFormat:
        source = Long(np.zeros((1, 1), np.float32), 16_000)
        return output_format(Path(name), source, AudioFormat("WAV", subtype))

    assert format_of("o.wav") == AudioFormat("RF64", "PCM_32")
    assert format_of("o.wav", "PCM_16") == AudioFormat("WAV", "PCM_16")
    assert format_of("o.flac") == AudioFormat("FLAC", "PCM_24")
    assert format_of("o.w64") == AudioFormat("W64", "PCM_32")
    for suffix in ("aiff", "au", "voc", "nist"):
        with pytest.raises(AudioError, match=r"GB of samples.*holds .* GB; use \.wav \(as RF64\)"):
            format_of(f"o.{suffix}")


def test_what_becomes_rf64_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats._MAX_BYTES, "WAV", 5_000)
    soundfile.write(tmp_path / "a.wav", tone(), 16_000, "PCM_16")
    source = FileSource(tmp_path / "a.wav")
    with FileWriter(tmp_path / "b.wav", like=source) as writer:
        for block in source.blocks():
            writer.write(block)
    assert (tmp_path / "b.wav").read_bytes()[:4] == b"RF64"
    np.testing.assert_array_equal(read(tmp_path / "b.wav")[1], read(tmp_path / "a.wav")[1])
