"""The readers of files from outside: files that are right, mutations, and the commands to read."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from frcrn_export import cli
from frcrn_export.exporters.loading import load_model, weights_at_hand
from frcrn_export.runtime.bundle.layer_report import (
    EngineLayer,
    LayerReport,
    LayerTensor,
    OnnxNode,
)
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    Assumption,
    FileEntry,
    Manifest,
    ParityResult,
)
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import sha256_of
from frcrn_export.runtime.errors import FrcrnExportError
from tests.bundles import STFT, centred_manifest, replace_core, write_bundle, write_manifest
from tests.fuzz.json_mutations import JSON
from tests.fuzz.mutations import BYTES, Mutation
from tests.fuzz.protobuf_mutations import PROTOBUF
from tests.fuzz.zip_mutations import ZIP, bomb, change_header, change_pickle, code
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle

RATE = 16_000
# Reads bytes in a folder, the n-th of its kind; raises AssertionError for what must not happen.
Read = Callable[[Path, bytes], None]


@dataclass(frozen=True)
class Reader:
    """`seeds` are right; `read` gets them mutated by one of `mutations`."""

    seeds: Callable[[Path], list[bytes]]
    mutations: tuple[Mutation, ...]
    read: Read

    def mutated(self, random: Random, seeds: list[bytes]) -> bytes:
        """One of the seeds, damaged. Mutations that do not apply leave it as it is."""
        data = random.choice(seeds)
        for _ in range(random.choice((1, 1, 1, 2))):
            try:
                data = random.choice(self.mutations)(random, data)
            except Exception:  # not JSON or not an archive any more: then bytes are changed
                data = random.choice(BYTES)(random, data) if data else b""
        return data


def command(*args: object, stdin: bytes = b"") -> None:
    """Run a command; it must end in a result, or in one line that a terminal can show."""
    said, stdin_before = io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    code: object = 0
    try:
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())), redirect_stderr(said):
            cli.main([str(arg) for arg in args])
    except SystemExit as left:
        code = left.code
    finally:
        sys.stdin = stdin_before
    lines = said.getvalue().splitlines()
    errors = [line for line in lines if line.startswith(("error:", "unexpected"))]
    assert code in (None, 0, 1, 2), (code, lines)
    assert not any(line.startswith(("unexpected", "Traceback")) for line in lines), lines
    assert all(line.isprintable() and len(line) < 5_000 for line in lines), lines
    assert len(errors) <= 1, lines


def _noise(frames: int = 4_000) -> "np.ndarray":
    return (np.random.default_rng(0).standard_normal(frames) / 20).astype(np.float32)


def _audio(folder: Path) -> Path:
    import soundfile

    path = folder / "a.wav"
    if not path.exists():
        soundfile.write(path, _noise(), RATE)
    return path


# Bundles: the manifest.
def _bundles(folder: Path) -> list[Path]:
    """Bundles of a waveform, a spectrum, a stream with states in bytes, and with an engine."""
    roots = [folder / name for name in ("wave", "spectrum", "stream", "engine")]
    if not roots[0].exists():
        write_bundle(roots[0])
        write_bundle(roots[1], _described())
        write_streaming_bundle(roots[2], Core("coarse", 2, 1), STFT)
        write_bundle(roots[3])
        shapes = {"low": (1, 1, 1), "best": (1, 1, 100), "high": (4, 1, 1_000)}
        add_engine(roots[3], "tensorrt-rtx", **shapes)
        _write_file(roots[3], -1, _reports(folder)[0])
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


def _manifests(folder: Path) -> list[bytes]:
    return [(root / MANIFEST_NAME).read_bytes() for root in _bundles(folder)]


def _read_manifest(folder: Path, data: bytes) -> None:
    roots = _bundles(folder)
    hashes = [sha256_of(next(root.glob("core*.onnx"))).encode() for root in roots[:3]]
    known = [root for root, sha256 in zip(roots, hashes, strict=False) if sha256 in data]
    root = roots[3] if b".engine" in data else (*known, roots[0])[0]
    intact = (root / MANIFEST_NAME).read_bytes()
    (root / MANIFEST_NAME).write_bytes(data)
    try:
        command("inspect", root)
        command("inspect", root, "--json")
        if root.name == "stream":
            command("stream", root, stdin=_noise().tobytes())
        else:
            command("denoise", root, _audio(folder), "-o", folder / "o.wav", "--force")
    finally:
        (root / MANIFEST_NAME).write_bytes(intact)


# Bundles: ONNX files.
def _graphs(folder: Path) -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    wave, _, stream, _ = _bundles(folder)
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


def _read_graph(folder: Path, data: bytes) -> None:
    wave, _, stream, _ = _bundles(folder)
    # The streaming core's names tell it from the others.
    root = stream if b"past" in data else wave
    first = "core.streaming.onnx" if root is stream else "core.onnx"
    intact = (root / first).read_bytes()
    try:
        replace_core(root, data)
        command("inspect", root)
        if root is stream:
            command("stream", root, stdin=_noise(1_000).tobytes())
        else:
            command("denoise", root, _audio(folder), "-o", folder / "o.wav", "--force")
    finally:
        replace_core(root, intact)


# Bundles: parity vectors.
def _vectors(folder: Path) -> list[bytes]:
    arrays = {}
    for case in ("one", "two"):
        for side in ("input", "output"):
            arrays[f"core.{case}.{side}"] = _noise(200).reshape(1, 1, -1)
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **arrays)
        found.append(stream.getvalue())
    return found


def _read_vectors(folder: Path, data: bytes) -> None:
    root = _bundles(folder)[0]
    path = root / "parity.npz"
    path.write_bytes(data)
    described = parse_manifest((root / MANIFEST_NAME).read_bytes())
    entry = FileEntry(
        path=path.name,
        role="parity",
        format="npz",
        precision="fp32",
        sha256=sha256_of(path),
        bytes=len(data),
    )
    write_manifest(root, msgspec.structs.replace(described, files=(described.files[0], entry)))
    command("verify", root)


# Checkpoints, and the configuration beside them.
def _states() -> dict[str, "object"]:
    """State dicts as trainers save them, of a known network and of none."""
    import torch

    from frcrn_export.exporters.recognition import load_checkpoint

    path = weights_at_hand("wave-unet-16k")
    assert path is not None
    state = load_checkpoint(path).state
    small = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(1).expand(3)}
    return {
        "plain": state,
        "nested": {"model": {f"net.{k}": v for k, v in state.items()}, "config": {"causal": True}},
        "other": {"state_dict": small, "epoch": 3, "best": np.float64(1.5), "args": {"lr": 1e-3}},
    }


def _checkpoints(folder: Path) -> list[bytes]:
    import torch
    from safetensors.torch import save

    found = []
    for state in _states().values():
        for is_zip in (True, False):
            stream = io.BytesIO()
            torch.save(state, stream, _use_new_zipfile_serialization=is_zip)
            found.append(stream.getvalue())
    tensors = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}
    return [*found, save(tensors, {"strides": "[4, 4]"}), save(tensors)]


def change_safetensors(random: Random, data: bytes) -> bytes:
    """Another header, of any length."""
    size = int.from_bytes(data[:8], "little")
    header = random.choice(JSON)(random, data[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _read_checkpoint(folder: Path, data: bytes) -> None:
    path = folder / "weights.pth"
    path.write_bytes(data)
    command("inspect", path)
    with suppress(FrcrnExportError):
        load_model(checkpoint=path)


def _configurations(folder: Path) -> list[bytes]:
    settings = {"model": {"strides": [4, 4], "causal": True, "residual": False, "channels": 8}}
    lines = "strides: [4, 4]\nnet: &net {causal: true, depth: 3}\nother: *net\nlr: 1e-3\n"
    return [json.dumps(settings).encode(), lines.encode()]


def change_yaml(random: Random, data: bytes) -> bytes:
    """Lines that YAML makes much of: tags with code, aliases of aliases, deep nesting."""
    billion = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    merges = "b0: &b0 {x: 1}\n" + "".join(
        f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 90)}]}}\n" for n in range(1, 12)
    )
    more = random.choice(
        (
            "x: !!python/object/apply:os.system ['false']",
            *(billion, merges, "x: " + "[" * 5_000, "a: &a [*a]", "? {a: 1}\n: 2", "x: 2001-01-01"),
            *(f"strides: {value}" for value in ("1e999", ".nan", "0x" + "f" * 5_000, "[[[]]]")),
            *(
                "x: 1" + ":1" * 100_000,
                "<<: [1]",
                "strides: !!binary x",
                "- 1",
                "x: !!float a",
                "\0",
                "\x85",
            ),
        )
    )
    return data + b"\n" + more.encode()


def _read_configuration(folder: Path, data: bytes) -> None:
    path = folder / "packaged.pth"
    if not path.exists():
        import torch

        torch.save(_states()["plain"], path)
    sidecar = folder / ("config.json" if data[:1] in b"{[" else "config.yaml")
    sidecar.write_bytes(data)
    try:
        command("inspect", path)
    finally:
        sidecar.unlink()


# Audio.
def _recordings(folder: Path) -> list[bytes]:
    import soundfile

    found = []
    for format in ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"):
        stream = io.BytesIO()
        soundfile.write(stream, _noise(), RATE, format=format)
        found.append(stream.getvalue())
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((500, 2)), 48_000, format="WAV", subtype="MS_ADPCM")
    return [*found, stream.getvalue()]


def change_chunks(random: Random, data: bytes) -> bytes:
    """A chunk of RIFF with another size, twice, in another place, or among many."""
    starts = [at for at, _ in _chunks(data)]
    at = random.choice(starts)
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    chunk = data[at : at + 8 + size]
    kind = random.randrange(4)
    if kind == 0:
        new = random.choice((0, 1, 15, 2**31 - 1, 2**32 - 1, 0x7FFFF000)).to_bytes(4, "little")
        return data[: at + 4] + new + data[at + 8 :]
    if kind == 1:
        return data[:at] + chunk + data[at:]
    if kind == 2:
        return data[:12] + (b"LIST" + bytes(4)) * random.choice((1, 10_000)) + data[12:]
    return data[:at] + data[at + len(chunk) :]


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 12
    while at + 8 <= len(data):
        yield at, data[at : at + 4]
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")


def _read_recording(folder: Path, data: bytes) -> None:
    path = folder / "given.wav"
    path.write_bytes(data)
    command("denoise", _bundles(folder)[0], path, "-o", folder / "o.wav", "--force")


def _pipes(folder: Path) -> list[bytes]:
    wav = [data for data in _recordings(folder) if data[:4] in (b"RIFF", b"RF64")]
    return [*wav, _noise().tobytes()]


def _read_pipe(folder: Path, data: bytes) -> None:
    command("stream", _bundles(folder)[2], stdin=data)
    command("stream", _bundles(folder)[2], "--format", "s24le", "--rate", "44100", stdin=data)


# Layer reports of engines.
def _reports(folder: Path) -> list[bytes]:
    tensor = LayerTensor(name="t", dtype="Half", dims=(1, -1, 3), format="Row major")
    layer = EngineLayer(
        name="l", type="Conv", tactic="0x1", inputs=(tensor,), outputs=(tensor,), onnx=("n", "m")
    )
    node = OnnxNode(op_type="Conv", dtype="Half", quantized=True)
    report = LayerReport(
        layers=(layer, layer), io=(), nodes={"n": node, "m": node}, activation_bytes=1
    )
    return [report.to_json()]


def _read_report(folder: Path, data: bytes) -> None:
    root = _bundles(folder)[3]
    _write_file(root, -1, data)
    command("inspect", root)
    command("inspect", root, "--json")


READERS = {
    "manifest": Reader(_manifests, (*BYTES, *JSON * 4), _read_manifest),
    "onnx": Reader(_graphs, (*BYTES, *PROTOBUF * 2), _read_graph),
    "npz": Reader(_vectors, (*BYTES, *ZIP, change_header, bomb, code), _read_vectors),
    "checkpoint": Reader(
        _checkpoints,
        (*BYTES, *ZIP, change_pickle, change_pickle, change_safetensors, bomb, code),
        _read_checkpoint,
    ),
    "configuration": Reader(
        _configurations, (*BYTES, *JSON, change_yaml, change_yaml), _read_configuration
    ),
    "audio": Reader(_recordings, (*BYTES, change_chunks), _read_recording),
    "pipe": Reader(_pipes, (*BYTES, change_chunks), _read_pipe),
    "layers": Reader(_reports, (*BYTES, *JSON * 2), _read_report),
}


def remove_outputs(folder: Path) -> None:
    """What a command wrote, between two inputs."""
    for path in (folder / "o.wav", folder / "given.wav", folder / "weights.pth"):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
