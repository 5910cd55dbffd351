import io

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.magic import has_audio, kind_of


@pytest.mark.parametrize(
    ("container", "kind"),
    [
        *((name, name) for name in ("AIFF", "AU", "CAF", "W64", "FLAC", "VOC", "MP3", "WAV")),
        ("OGG", "Ogg"), ("RF64", "WAV"), ("NIST", "NIST SPHERE"), ("PVF", "PVF"), ("AVR", "AVR"),
    ],
)  # fmt: skip
def test_what_libsndfile_writes_has_a_name(container: str, kind: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(2_000), 16_000, format=container)
    assert kind_of(file.getvalue()[:64]) == kind


@pytest.mark.parametrize(
    "begin",
    [b"", b"\0" * 64, b"\xff" * 64, b"\xff\xff\xff\xff", bytes(range(64)), b"\xff\xfb", b"abc"],
)
def test_samples_have_none(begin: bytes) -> None:
    assert kind_of(begin) == ""


@pytest.mark.parametrize(
    ("begin", "kind", "audio"),
    [
        (b"a text that goes on", "text", False),
        (b"%PDF-1.7 and more of it", "PDF", False),
        (b"\x89PNG\r\n\x1a\n", "PNG", False),
        (b"PK\x03\x04" + bytes(30), "a ZIP archive", False),
        (b"\0\0\0\x20ftypM4A ", "MP4", True),
        (b"\0\1\2\3", "", True),
    ],
)
def test_what_may_be_converted(begin: bytes, kind: str, audio: bool) -> None:
    assert kind_of(begin) == kind
    assert has_audio(kind) == audio
