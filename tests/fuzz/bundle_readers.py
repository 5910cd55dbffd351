"""Bundles: manifests, ONNX files, parity vectors, layer reports."""

import io
from pathlib import Path

import msgspec
import numpy as np

from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.layer_report import (
    EngineLayer,
    LayerReport,
    LayerTensor,
    OnnxNode,
)
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    Assumption,
    Manifest,
    ParityResult,
)
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import sha256_of
from tests.bundles import STFT, centred_manifest, replace_core, write_bundle, write_manifest
from tests.fuzz.reader import RATE, command, noise, recording
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle


# Bundles: the manifest.
def bundles(folder: Path) -> list[Path]:
    """Bundles of a waveform, a spectrum, a stream with states in bytes, and with an engine."""
    roots = [folder / name for name in ("wave", "spectrum", "stream", "engine")]
    if not roots[0].exists():
        write_bundle(roots[0])
        write_bundle(roots[1], _described())
        _write_vectors(roots[1], vectors(folder)[0])
        write_streaming_bundle(roots[2], Core("coarse", 2, 1), STFT)
        write_bundle(roots[3])
        shapes = {"low": (1, 1, 1), "best": (1, 1, 100), "high": (4, 1, 1_000)}
        add_engine(roots[3], "tensorrt-rtx", **shapes)
        _write_file(roots[3], -1, reports(folder)[0])
    return roots


def _write_file(root: Path, index: int, data: bytes) -> None:
    """Other content for a file of a bundle, with a manifest that agrees."""
    described = parse_manifest((root / MANIFEST_NAME).read_bytes())
    files = list(described.files)
    path = root / files[index].path
    path.write_bytes(data)
    files[index] = msgspec.structs.replace(files[index], sha256=sha256_of(path), bytes=len(data))
    write_manifest(root, msgspec.structs.replace(described, files=tuple(files)))


def _described() -> Manifest:
    """A manifest with something in every field that a core alone may have."""
    return msgspec.structs.replace(
        centred_manifest(RATE),
        variant={"causal": True, "strides": [2, 4], "blocks": 3, "lookahead": "none"},
        options=("--strides", "2,4"),
        assumptions=(Assumption(setting="causal", value="yes", reason="not known"),),
        parity=(
            ParityResult(
                artifact="core.onnx", case="a", snr_db=99.5, max_abs=1e-6, floor_db=90, passed=True
            ),
        ),
        tools={"torch": "2.13.0"},
    )


def manifests(folder: Path) -> list[bytes]:
    return [(root / MANIFEST_NAME).read_bytes() for root in bundles(folder)]


def read_manifest(folder: Path, data: bytes) -> None:
    roots = bundles(folder)
    hashes = [sha256_of(next(root.glob("core*.onnx"))).encode() for root in roots[:3]]
    known = [root for root, sha256 in zip(roots, hashes, strict=False) if sha256 in data]
    root = roots[3] if b".engine" in data else (*known, roots[0])[0]
    intact = (root / MANIFEST_NAME).read_bytes()
    (root / MANIFEST_NAME).write_bytes(data)
    try:
        command("inspect", root)
        command("inspect", root, "--json")
        command("pack", root, "--target", "cpu", "-o", folder / "packed.zip", "--force")
        if root.name == "stream":
            command("stream", root, "--format", "s16le", stdin=noise().tobytes())
        else:
            command("denoise", root, recording(folder), "-o", folder / "o.wav", "--force")
    finally:
        (root / MANIFEST_NAME).write_bytes(intact)


# Bundles: ONNX files.
def graphs(folder: Path) -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    wave, _, stream, _ = bundles(folder)
    values = np.random.default_rng(0).standard_normal((2, 1, 3)).astype(np.float32)
    given = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 1, "samples"])
    gives = helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, ["batch", 1, "samples"])
    row = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 1]) for n in "xy"]
    body = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "body", row[:1], row[1:])
    nodes = [
        helper.make_node("Conv", ["inputs", "w"], ["a"], pads=[1, 1], name="first"),
        helper.make_node("Shape", ["a"], ["sizes"]),
        helper.make_node("Reshape", ["a", "sizes"], ["b"]),
        helper.make_node("ConvTranspose", ["b", "w"], ["c"], pads=[1, 1]),
        helper.make_node(
            "Scan", ["c"], ["d"], body=body, num_scan_inputs=1, scan_input_axes=[2],
            scan_output_axes=[2],
        ),
        helper.make_node("Mul", ["d", "one"], ["e"]),
        helper.make_node("Slice", ["e", "zero", "many", "last"], ["enhanced"]),
    ]  # fmt: skip
    constants = [
        numpy_helper.from_array(values, "w"),
        numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "one"),
        *(helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in _INDICES.items()),
    ]
    graph = helper.make_graph(nodes, "g", [given], [gives], constants)
    opset = [helper.make_opsetid("", 18)]
    network = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return [
        network,
        network,
        (wave / "core.onnx").read_bytes(),
        (stream / "core.streaming.onnx").read_bytes(),
    ]


_INDICES = {"zero": 0, "many": 2**62, "last": -1}


def read_graph(folder: Path, data: bytes) -> None:
    wave, _, stream, _ = bundles(folder)
    # The streaming core's names tell it from the others.
    root = stream if b"past" in data else wave
    first = "core.streaming.onnx" if root is stream else "core.onnx"
    intact = (root / first).read_bytes()
    try:
        replace_core(root, data)
        command("inspect", root)
        if root is stream:
            command("stream", root, "--format", "s16le", stdin=noise(1_000).tobytes())
        else:
            command("denoise", root, recording(folder), "-o", folder / "o.wav", "--force")
    finally:
        replace_core(root, intact)


# Bundles: parity vectors.
def vectors(folder: Path) -> list[bytes]:
    arrays = {}
    for case in ("one", "two"):
        for side in ("input", "output"):
            arrays[f"core.{case}.{side}"] = noise(200).reshape(1, 1, -1)
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **arrays)
        found.append(stream.getvalue())
    return found


def _write_vectors(root: Path, data: bytes) -> None:
    """Vectors for a bundle, with a manifest that agrees."""
    (root / "parity.npz").write_bytes(data)
    described = parse_manifest((root / MANIFEST_NAME).read_bytes())
    entry = file_entry(data, "parity.npz", "parity", "npz")
    write_manifest(root, msgspec.structs.replace(described, files=(described.files[0], entry)))


def read_vectors(folder: Path, data: bytes) -> None:
    root = bundles(folder)[0]
    _write_vectors(root, data)
    command("verify", root)
    command("pack", root, "--target", "cpu", "-o", folder / "packed", "--force")


# Layer reports of engines.
def reports(folder: Path) -> list[bytes]:
    tensor = LayerTensor(name="t", dtype="Half", dims=(1, -1, 3), format="Row major")
    layer = EngineLayer(
        name="l", type="Conv", tactic="0x1", inputs=(tensor,), outputs=(tensor,), onnx=("n", "m")
    )
    node = OnnxNode(op_type="Conv", dtype="Half", quantized=True)
    report = LayerReport(
        layers=(layer, layer), io=(), nodes={"n": node, "m": node}, activation_bytes=1
    )
    return [report.to_json()]


def read_report(folder: Path, data: bytes) -> None:
    root = bundles(folder)[3]
    _write_file(root, -1, data)
    command("inspect", root)
    command("inspect", root, "--json")
