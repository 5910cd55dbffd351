"""Whole streams compared by a bundle that has vectors of them."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BundleError
from frcrn_export.runtime.verify.parity import check_bundle
from frcrn_export.runtime.verify.stream_parity import takes_streams
from tests.bundles import STFT, parity_entry, write_manifest
from tests.checked_streams import with_lookahead
from tests.streaming_bundles import Core, write_streaming_bundle

LOOKAHEAD = 2  # frames of 320 samples; the window spans two
BLOCKS = (700, 0, 1, 1_299)
# A frame has come when its window has; each gives 320 samples, two frames later.
RETURNED = (0, 0, 0, 3 * 320, 2_000 - 3 * 320)


def with_vectors(path: Path, **changes: np.ndarray) -> Path:
    """A stream of speech that comes out as it went in."""
    random = np.random.default_rng(0)
    wave = (0.1 * random.standard_normal(2_000)).astype(np.float32)
    wave[0] = 0  # the window is 0 there
    arrays = {
        "input": wave,
        "output": wave,
        "blocks": np.float32(BLOCKS),
        "returned": np.float32(RETURNED),
        "gains": np.ones_like(wave),
        **changes,
    }
    vectors = {f"stream.noise.{name}": array for name, array in arrays.items()}
    np.savez(path / "parity.npz", allow_pickle=False, **vectors)
    entry = parity_entry(path)
    manifest = open_bundle(path).manifest
    write_manifest(path, msgspec.structs.replace(manifest, files=(*manifest.files, entry)))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_streaming_bundle(tmp_path / "b", Core("delay", 1, LOOKAHEAD), STFT)


def passed(path: Path) -> dict[str, bool]:
    return {result.artifact: result.passed for result in check_bundle(open_bundle(path))}


def test_a_stream_comes_out_as_its_vectors_say(path: Path) -> None:
    assert passed(with_vectors(path)) == {"core.streaming.onnx": True, "level (numpy)": True}


@pytest.mark.parametrize(
    "changes",
    [
        {"output": np.zeros(2_000, np.float32)},
        {"returned": np.float32((0, 0, 0, 3 * 320 + 1, 2_000 - 3 * 320 - 1))},
        {"returned": np.float32(RETURNED[:-1])},
    ],
)
def test_other_samples_or_at_other_times_never_pass(
    path: Path, changes: dict[str, np.ndarray]
) -> None:
    found = passed(with_vectors(path, **changes))
    assert found == {"core.streaming.onnx": False, "level (numpy)": True}


def test_another_lookahead_than_the_core_has_never_passes(path: Path) -> None:
    assert not passed(with_vectors(with_lookahead(path, 1)))["core.streaming.onnx"]


def test_another_gain_than_the_level_gives_never_passes(path: Path) -> None:
    gains = np.ones(2_000, np.float32)
    gains[1_000:] = 1.01
    assert passed(with_vectors(path, gains=gains)) == {
        "core.streaming.onnx": True,
        "level (numpy)": False,
    }


@pytest.mark.parametrize(
    "blocks",
    [(700, 1_299), (2_001, -1), (np.nan, 2_000), (np.inf, 0), (), (0,) * 70_000 + (2_000,)],
)
def test_blocks_that_are_no_blocks_of_the_stream(path: Path, blocks: tuple[float, ...]) -> None:
    with_vectors(path, blocks=np.float32(blocks))
    with pytest.raises(BundleError, match="vectors stream.noise do not fit it"):
        passed(path)


def test_float16_files_and_quantized_ones_are_left_out() -> None:
    entry = FileEntry(
        path="a", role="core", format="onnx", precision="fp32", sha256="0" * 64, bytes=0
    )
    assert takes_streams(entry)
    for precision in ("fp16", "int8", "fp8"):
        assert not takes_streams(msgspec.structs.replace(entry, precision=precision))
