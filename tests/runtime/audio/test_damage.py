import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.damage import _ogg_crc, find_damage, has_index
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.errors import AudioError

RATE = 16_000
FRAMES = 8 * RATE
CODECS = {"a.ogg": ("OGG", "VORBIS"), "a.opus": ("OGG", "OPUS"), "a.mp3": ("MP3", None)}


def _noise(frames: int = FRAMES, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((frames, channels))


def _read(source: FileSource) -> np.ndarray:
    return np.concatenate(list(source.blocks()), axis=1)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, np.ndarray]]:
    """The bytes and the samples of a whole file for each codec."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for name, (container, subtype) in CODECS.items():
        path = folder / name
        soundfile.write(path, _noise(), RATE, format=container, subtype=subtype)
        assert find_damage(path) is None
        source = FileSource(path)
        found[name] = path.read_bytes(), _read(source)
        assert source.losses == []
    return found


def _invert(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def _zeros(count: int) -> Callable[[bytes, int], bytes]:
    return lambda content, at: content[:at] + bytes(count) + content[at + count :]


def _random(content: bytes, at: int) -> bytes:
    return content[:at] + np.random.default_rng(1).bytes(2_000) + content[at + 2_000 :]


def _cut(content: bytes, at: int) -> bytes:
    return content[:at] + content[at + 1_500 :]


HARM = {"zeros": _zeros(2_000), "random": _random, "cut": _cut, "byte": _invert}
# MP3 has no checksum over its samples: one changed byte cannot be found.
HARMED = [(name, harm) for name in CODECS for harm in HARM if (name, harm) != ("a.mp3", "byte")]


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("name", "harm"), HARMED)
def test_damage_is_said_and_nothing_is_shifted_or_heard_twice(
    tmp_path: Path,
    whole: dict[str, tuple[bytes, np.ndarray]],
    name: str,
    harm: str,
    where: float,
) -> None:
    content, expected = whole[name]
    path = tmp_path / name
    path.write_bytes(HARM[harm](content, int(where * len(content))))
    source = FileSource(path)
    got = _read(source)
    (said,) = source.losses
    start, end = re.findall(r"([\d.]+) s", said)
    assert said == f"damaged at {start} s: silence from there to {end} s"
    right, again = round(float(start) * RATE), round(float(end) * RATE)
    assert (where - 0.2) * FRAMES < right < (where + 0.05) * FRAMES
    assert len(got) == len(expected)
    np.testing.assert_allclose(got[: right - 200], expected[: right - 200], atol=1e-3)
    assert not got[right + 200 : again - 200].any()
    np.testing.assert_allclose(got[again + 800 :], expected[again + 800 :], atol=1e-2)
    if name == "a.mp3":
        assert again == FRAMES
    elif where < 0.7:  # a last page alone cannot be decoded
        assert again < right + 3 * RATE


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_each_damage_of_an_ogg_is_silence(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], name: str
) -> None:
    content, expected = whole[name]
    path = tmp_path / name
    for where in (0.35, 0.7):
        content = _invert(content, int(where * len(content)))
    path.write_bytes(content)
    source = FileSource(path)
    got = _read(source)
    (said,) = source.losses
    assert said.endswith("s, and in 1 more places")
    same = np.isclose(got, expected, atol=1e-2)
    assert same[: FRAMES // 5].all()
    assert same[FRAMES // 2 : FRAMES * 11 // 20].all()
    assert same[-FRAMES // 8 :].all()
    assert same[got != 0].mean() > 0.99


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_damage_of_the_first_samples_is_silence(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], name: str
) -> None:
    content, expected = whole[name]
    path = tmp_path / name
    headers = [match.start() for match in re.finditer(b"OggS", content)][2]
    path.write_bytes(_invert(content, headers + 400))
    source = FileSource(path)
    got = _read(source)
    (said,) = source.losses
    assert said.startswith("damaged at 0.00 s: silence from there to ")
    again = round(float(said.split()[-2]) * RATE)
    assert len(got) == len(expected)
    assert 0 < again < 2 * RATE
    assert not got[: again - 200].any()
    np.testing.assert_allclose(got[again + 800 :], expected[again + 800 :], atol=1e-2)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_a_length_that_is_not_believable_is_not_filled(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], name: str
) -> None:
    content, _ = whole[name]
    last = content.rindex(b"OggS")
    page = bytearray(content[last:])
    page[6:14] = (1 << 50).to_bytes(8, "little")
    page[22:26] = bytes(4)
    page[22:26] = _ogg_crc(bytes(page)).to_bytes(4, "little")
    path = tmp_path / name
    path.write_bytes(_invert(content[:last], last // 2) + page)
    source = FileSource(path)
    assert len(_read(source)) == source.frames < FRAMES
    assert source.losses == [f"damaged at {source.frames / RATE:.2f} s: it ends there"]


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_damage_of_the_last_page_ends_the_file(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], name: str
) -> None:
    content, expected = whole[name]
    path = tmp_path / name
    path.write_bytes(_invert(content, len(content) - 100))
    source = FileSource(path)
    got = _read(source)
    end = f"{source.frames / RATE:.2f} s: its last page is missing or damaged"
    assert source.losses == [f"ends early, at {end}"]
    assert FRAMES // 2 < len(got) == source.frames < FRAMES
    np.testing.assert_allclose(got, expected[: len(got)], atol=1e-3)


@pytest.mark.parametrize("count", [400, 2_000])
@pytest.mark.parametrize("where", [0.4, 0.5, 0.8])
def test_an_mp3_without_an_index_ends_at_the_damage(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], where: float, count: int
) -> None:
    content, _ = whole["a.mp3"]
    index = max(content.find(b"Xing"), content.find(b"Info"))
    path = tmp_path / "a.mp3"
    content = content[content.index(b"\xff", index) :]  # from the first frame of audio on
    path.write_bytes(content)
    assert find_damage(path) is None
    whole_frames = FileSource(path).frames
    path.write_bytes(_zeros(count)(content, int(where * len(content))))
    source = FileSource(path)
    assert abs(source.frames - where * whole_frames) < 0.1 * whole_frames
    assert len(_read(source)) == source.frames
    (said,) = source.losses
    assert said == f"damaged at {source.frames / RATE:.2f} s: it ends there"


def test_damage_of_the_end_of_an_mp3_is_said(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]]
) -> None:
    content, expected = whole["a.mp3"]
    path = tmp_path / "a.mp3"
    path.write_bytes(content[:-1_000] + bytes(1_000))
    assert has_index(path)
    source = FileSource(path)
    got = _read(source)
    assert source.losses == [f"ends early, at {len(got) / RATE:.2f} s of 8.00 s"]
    np.testing.assert_allclose(got[:-1_152], expected[: len(got) - 1_152], atol=1e-3)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_whole_mp3_is_not_damaged(tmp_path: Path, rate: int, mode: str, channels: int) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, _noise(rate, channels), rate, bitrate_mode=mode, compression_level=0.5)
    assert find_damage(path) is None
    assert FileSource(path).losses == []
    content = path.read_bytes()
    tag = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
    for behind in (b"TAG" + bytes(125), b"APETAGEX" + bytes(99), bytes(5_000)):
        path.write_bytes(tag + content + behind)
        assert find_damage(path) is None


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_a_whole_ogg_is_not_damaged(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], name: str
) -> None:
    content, expected = whole[name]
    path = tmp_path / name
    for other in (content + b"junk", content + content):
        path.write_bytes(other)
        assert find_damage(path) is None
        assert len(_read(FileSource(path))) == len(expected)


@pytest.mark.parametrize("name", CODECS)
def test_any_bytes_are_read_or_refused(
    tmp_path: Path, whole: dict[str, tuple[bytes, np.ndarray]], name: str
) -> None:
    content, expected = whole[name]
    rng = np.random.default_rng(2)
    for _ in range(10):
        start, count = rng.integers(0, len(content)), rng.integers(1, 5_000)
        path = tmp_path / name
        path.write_bytes(content[:start] + rng.bytes(int(count)) + content[start + count // 2 :])
        with suppress(AudioError):
            assert len(_read(FileSource(path, warn=False))) <= len(expected) + 4 * 1_152
