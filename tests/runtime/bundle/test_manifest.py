"""The types of the manifest; what reading one checks is in `test_parse.py`."""

import inspect
import re
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from frcrn_export.runtime.bundle import manifest as types
from frcrn_export.runtime.bundle.manifest import StftSpec, Weights
from tests.bundles import manifest

DOCUMENT = Path(__file__).parents[3] / "docs" / "bundle.md"
STRUCTS = [
    found
    for found in vars(types).values()
    if inspect.isclass(found) and issubclass(found, Struct) and found is not Struct
]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_field_stands_in_the_normative_text(struct: type[Struct]) -> None:
    named = set(re.findall(r"`([a-z0-9_]+)`", DOCUMENT.read_text()))
    assert set(struct.__struct_fields__) <= named


def test_a_bundle_says_that_its_weights_are_random() -> None:
    assert manifest().has_random_weights
    trained = Weights(source="checkpoint", name="a.pth", sha256="0" * 64)
    described = msgspec.structs.replace(manifest(), weights=trained)
    assert not described.has_random_weights


@pytest.mark.parametrize(
    ("center", "pad_mode", "samples", "frames", "shortest"),
    [
        (False, "reflect", 1_024, 3, 512),
        (True, "reflect", 1_024, 5, 257),
        (True, "zeros", 1_024, 5, 1),
        (True, "zeros", 1_023, 4, 1),
    ],
)
def test_frames_of_samples(
    center: bool, pad_mode: str, samples: int, frames: int, shortest: int
) -> None:
    stft = StftSpec(
        window_length=512,
        hop_length=256,
        fft_length=640,
        center=center,
        pad_mode=pad_mode,  # type: ignore[arg-type]
    )
    assert stft.frames(samples) == frames
    assert stft.samples(frames) <= samples
    assert stft.samples(frames + 1) > samples
    assert (stft.shortest, stft.bins) == (shortest, 321)
    assert stft.offset == (64 if center else 0)
