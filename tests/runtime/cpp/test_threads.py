"""One model, many threads; and the order in which objects are freed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from frcrn_export.runtime.bundle.parse import parse_manifest
from tests.bundles import STFT, core_entry, manifest, measured, write_gain_onnx, write_manifest
from tests.runtime.cpp.library import Library
from tests.runtime.cpp.test_recordings import noise
from tests.streaming_bundles import Core, write_streaming_bundle


def write_both(path: Path) -> Path:
    """A bundle with an offline and a streaming core."""
    described = manifest(stft=STFT, level="active_rms")
    bundle = write_streaming_bundle(path, Core(lookahead=2), STFT, described=described)
    entry = core_entry(STFT)
    write_gain_onnx(bundle / entry.path, entry, 0.5)
    streaming = parse_manifest((bundle / "manifest.json").read_bytes()).files
    write_manifest(
        bundle, msgspec.structs.replace(described, files=(measured(bundle, entry), *streaming))
    )
    return bundle


def test_threads_share_a_model(library: Library, tmp_path: Path) -> None:
    bundle = write_both(tmp_path / "bundle")

    def work(number: int, model: object) -> tuple[np.ndarray, np.ndarray]:
        wave = noise(9_000, seed=number)
        stream = model.stream()
        out = [stream.process(wave[start : start + 300]) for start in range(0, 9_000, 300)]
        return model.denoise(wave), np.concatenate([*out, stream.flush()])

    alone = [work(number, library.open(bundle)) for number in range(8)]
    shared = library.open(bundle)  # its sessions are opened by the threads, at once
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda number: work(number, shared), range(8)))
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_a_stream_outlives_the_handle_of_its_model(library: Library, tmp_path: Path) -> None:
    model = library.open(write_both(tmp_path / "bundle"))
    stream, batch = model.stream(), model.batch(2)
    wave = noise(3_000)
    expected = stream.process(wave)
    stream.reset()
    del model  # frees it
    np.testing.assert_array_equal(stream.process(wave), expected)
    np.testing.assert_array_equal(batch.process([wave, wave])[1], expected)
