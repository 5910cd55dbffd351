"""Small bundles for tests: the core is a gain, so that what surrounds it can be checked alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Format,
    Level,
    Manifest,
    Padding,
    ParityResult,
    Role,
    Segments,
    StftSpec,
    TensorSpec,
    Weights,
)
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import sha256_of

SAMPLE_RATE = 16_000
STFT = StftSpec(window_length=640, hop_length=320, fft_length=640)
FRCRN_PADDING = Padding(rule="windows", size=16_000, stride=12_000)


# Of a network at 48 kHz with torch's own transform.
CENTRED = StftSpec(
    window_length=1_024, hop_length=384, fft_length=1_024, window="hann", center=True
)


def centred_manifest(sample_rate: int = 48_000, above: int = 480_000) -> Manifest:
    """Frames that are centred, padding to whole hops, windows of a second at 48 kHz."""
    cut = Segments(length=48_000, left=4_800, right=4_800, above=above)
    return manifest(
        stft=CENTRED,
        level="active_rms",
        padding=whole_hops(CENTRED),
        segments=cut,
        sample_rate=sample_rate,
    )


def frcrn_segments(above: int = 120 * SAMPLE_RATE) -> Segments:
    return Segments(length=16_000, left=2_000, right=2_000, above=above)


def manifest(
    *,
    stft: StftSpec | None = None,
    level: Level = "none",
    padding: Padding = FRCRN_PADDING,
    segments: Segments | None = None,
    files: tuple[FileEntry, ...] = (),
    sample_rate: int = SAMPLE_RATE,
) -> Manifest:
    return Manifest(
        model="gain",
        variant={},
        domain="waveform" if stft is None else "spectrum",
        weights=Weights(source="random", name="gain", seed=0),
        sample_rate=sample_rate,
        stft=stft,
        level=level,
        padding=padding,
        segments=segments or frcrn_segments(),
        files=files,
    )


def compared_files(results: Iterable[ParityResult]) -> set[str]:
    """The files that were compared; comparisons of the runtime's own NumPy are left out."""
    return {result.artifact for result in results if not result.artifact.endswith("(numpy)")}


def core_entry(
    stft: StftSpec | None = None,
    *,
    path: str = "core.onnx",
    role: Role = "core",
    format: Format = "onnx",
    samples: int | str = "samples",
) -> FileEntry:
    if role == "pipeline":
        shape: tuple[int | str, ...] = ("batch", samples)
    elif stft is None:
        shape = ("batch", 1, samples)
    else:
        shape = ("batch", 2, stft.bins, "frames")
    tensors = [
        TensorSpec(name=name, dtype="float32", shape=shape) for name in ("inputs", "enhanced")
    ]
    return FileEntry(
        path=path,
        role=role,
        format=format,
        precision="fp32",
        sha256="0" * 64,
        bytes=0,
        inputs=tuple(tensors[:1]),
        outputs=tuple(tensors[1:]),
    )


@dataclass
class GainSession:
    """A session without a backend: multiplies, and remembers the shapes it was given."""

    entry: FileEntry
    gain: float = 1.0
    device: str = "cpu"
    backend: str = "test"

    def __post_init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: np.ndarray) -> np.ndarray:
        self.shapes.append(inputs.shape)
        return inputs * np.float32(self.gain)


def write_bundle(
    path: Path,
    described: Manifest | None = None,
    *,
    gain: float = 1.0,
    role: Role = "core",
    samples: int | str = "samples",
    formats: tuple[Format, ...] = ("onnx",),
) -> Path:
    """Write a bundle whose core multiplies by `gain`, as ONNX, TorchScript or both."""
    described = described or manifest()
    path.mkdir(parents=True)
    entries = []
    for format in formats:
        name = "core.onnx" if format == "onnx" else "core.pt"
        entry = core_entry(described.stft, path=name, role=role, format=format, samples=samples)
        if format == "onnx":
            write_gain_onnx(path / name, entry, gain)
        else:
            write_gain_torchscript(path / name, gain)
        entries.append(measured(path, entry))
    write_manifest(path, msgspec.structs.replace(described, files=tuple(entries)))
    return path


def write_manifest(path: Path, described: Manifest) -> None:
    (path / MANIFEST_NAME).write_bytes(described.to_json())


def leave_out(path: Path, *names: str) -> None:
    """Take files out of a bundle, as `pack` does."""
    described = parse_manifest((path / MANIFEST_NAME).read_bytes())
    for name in names:
        (path / name).unlink()
    kept = tuple(entry for entry in described.files if entry.path not in names)
    write_manifest(path, msgspec.structs.replace(described, files=kept))


def replace_core(path: Path, content: bytes) -> None:
    """Give a bundle's first file other content that its manifest agrees with."""
    described = parse_manifest((path / MANIFEST_NAME).read_bytes())
    first, *others = described.files
    (path / first.path).write_bytes(content)
    files = (measured(path, first), *others)
    write_manifest(path, msgspec.structs.replace(described, files=files))


def parity_entry(root: Path) -> FileEntry:
    """The entry of a bundle's `parity.npz`."""
    entry = FileEntry(
        path="parity.npz", role="parity", format="npz", precision="fp32", sha256="0" * 64, bytes=0
    )
    return measured(root, entry)


def measured(root: Path, entry: FileEntry) -> FileEntry:
    """The entry with the size and the hash of its file."""
    file = root / entry.path
    return msgspec.structs.replace(entry, sha256=sha256_of(file), bytes=file.stat().st_size)


def write_gain_onnx(path: Path, entry: FileEntry, gain: float) -> None:
    import onnx
    from onnx import TensorProto, helper

    source, target = entry.inputs[0], entry.outputs[0]
    graph = helper.make_graph(
        [helper.make_node("Mul", [source.name, "gain"], [target.name])],
        "gain",
        [helper.make_tensor_value_info(source.name, TensorProto.FLOAT, source.shape)],
        [helper.make_tensor_value_info(target.name, TensorProto.FLOAT, target.shape)],
        [helper.make_tensor("gain", TensorProto.FLOAT, [], [gain])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)


def write_gain_torchscript(path: Path, gain: float) -> None:
    import torch

    class Gain(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs * gain

    torch.jit.save(torch.jit.trace(Gain(), torch.zeros(1, 1, 8)), str(path))
