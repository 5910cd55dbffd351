"""Every reader of files from outside gives a result or one line, whatever the bytes are.

Files that are right are damaged at random: bits, bytes, pieces that are cut out, doubled or moved,
and ends that are missing. The seeds are fixed, so that a run repeats itself.
"""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.bundle.graph_cost import graph_cost
from frcrn_export.runtime.bundle.layer_report import LayerReport, census, read_layer_report
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import FrcrnExportError
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.pipe import PipeReader
from frcrn_export.runtime.verify.parity import check_bundle
from tests.bundles import core_entry, manifest, replace_core, write_bundle
from tests.runtime.verify.test_parity import rewrite_manifest
from tests.streaming_bundles import Core, write_streaming_bundle

fuzzed = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
places = st.floats(0, 1, exclude_max=True)
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "write", "cut", "double", "end"]), places, st.binary(min_size=1)
    ),
    min_size=1,
    max_size=4,
)
Edits = list[tuple[str, float, bytes]]


def damage(data: bytes, changes: Edits) -> bytes:
    for kind, place, piece in changes:
        at = int(place * len(data))
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << piece[0] % 8)]) + data[at + 1 :]
        elif kind == "write":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "cut":
            data = data[:at] + data[at + len(piece) :]
        elif kind == "double":
            data = data[:at] + data[at : at + 64] + data[at:]
        elif kind == "end":
            data = data[:at]
    return data


def survives(read: Callable[[], object]) -> None:
    """A result, or an error of ours in one line that a terminal can show."""
    message = ""
    try:
        read()
    except FrcrnExportError as error:
        message = str(error)
    assert message == "" or message.isprintable()
    assert len(message) < 5_000


@fuzzed
@given(edits)
def test_manifests(wave_unet_bundle: Path, changes: Edits) -> None:
    data = (wave_unet_bundle / MANIFEST_NAME).read_bytes()
    survives(lambda: parse_manifest(damage(data, changes)))


@fuzzed
@given(edits)
def test_bundles_opened_to_denoise(tmp_path: Path, changes: Edits) -> None:
    """A manifest that is damaged and still one."""
    root = tmp_path / "b"
    if not root.exists():
        write_streaming_bundle(root, Core("delay", 1, 1))
    intact = (root / MANIFEST_NAME).read_bytes()
    try:
        (root / MANIFEST_NAME).write_bytes(damage(intact, changes))
        survives(lambda: StreamingDenoiser.open(root).process(np.zeros(2_000, np.float32)))
    finally:
        (root / MANIFEST_NAME).write_bytes(intact)


@fuzzed
@given(edits)
def test_onnx_files_of_a_session(tmp_path: Path, changes: Edits) -> None:
    root = tmp_path / "b"
    if not root.exists():
        write_bundle(root)
        shutil.copy(root / "core.onnx", tmp_path / "core.onnx")
    replace_core(root, damage((tmp_path / "core.onnx").read_bytes(), changes))
    given_ = np.zeros((1, 1, 16), np.float32)
    survives(lambda: open_session(open_bundle(root), "onnxruntime-cpu").run(given_))


@fuzzed
@given(edits)
def test_onnx_files_that_inspect_counts(
    wave_unet_bundle: Path, tmp_path: Path, changes: Edits
) -> None:
    path = tmp_path / "core.onnx"
    path.write_bytes(damage((wave_unet_bundle / "core.onnx").read_bytes(), changes))
    survives(lambda: graph_cost(path, {"batch": 1, "samples": 16_000}))


@settings(fuzzed, max_examples=30)
@given(edits)
def test_parity_vectors(wave_unet_bundle: Path, tmp_path: Path, changes: Edits) -> None:
    root = tmp_path / "b"
    if not root.exists():
        shutil.copytree(wave_unet_bundle, root)
    intact = (wave_unet_bundle / "parity.npz").read_bytes()
    (root / "parity.npz").write_bytes(damage(intact, changes))
    rewrite_manifest(root)
    survives(lambda: next(check_bundle(open_bundle(root)), None))


@fuzzed
@given(edits)
def test_layer_reports(changes: Edits) -> None:
    report = LayerReport(layers=(), io=(), nodes={}, activation_bytes=1)
    survives(lambda: census(read_layer_report(damage(report.to_json(), changes), "layers.json")))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
@settings(fuzzed, max_examples=25)
@given(changes=edits)
@example(changes=[("double", 0.5, b"\0")])  # an MP3 that goes on after its own end
def test_audio_files(tmp_path: Path, suffix: str, changes: Edits) -> None:
    path = tmp_path / f"a.{suffix}"
    tone = np.sin(np.arange(3_000) / 9) / 2
    soundfile.write(path, tone, 16_000)
    path.write_bytes(damage(path.read_bytes(), changes))

    def read() -> None:
        source = FileSource(path)
        for index, _ in enumerate(source.blocks()):
            if index > 100:  # a header may say any length
                break

    survives(read)


@fuzzed
@given(edits)
def test_audio_from_a_pipe(changes: Edits) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((500, 2)), 16_000, format="WAV")
    data = io.BytesIO(damage(stream.getvalue(), changes))

    def read() -> None:
        reader = PipeReader(data, None)
        while reader.read(100) is not None:
            pass

    survives(read)


@pytest.mark.parametrize(
    "text",
    ["wave-unet-16k;touch x;#", "\x1b]0;owned\x07", "\u202egpj", "x" * 200_000, "'; touch x; '"],
)
def test_names_from_a_manifest(text: str, tmp_path: Path) -> None:
    """In an error with a command to paste, whatever the manifest calls its model and weights."""
    root = write_bundle(tmp_path / "b")
    described = manifest(files=(core_entry(),))
    data = described.to_json().replace(b'"gain"', manifest_text(text))
    (root / MANIFEST_NAME).write_bytes(data)
    with pytest.raises(FrcrnExportError) as caught:
        open_bundle(root)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 5_000


def manifest_text(text: str) -> bytes:
    import json

    return json.dumps(text).encode()
