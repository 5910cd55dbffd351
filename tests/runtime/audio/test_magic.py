import io

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.magic import kind_of


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
