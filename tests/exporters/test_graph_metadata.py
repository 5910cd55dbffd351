"""The properties of ONNX files, which repeat the manifest."""

import json
from typing import Any

import onnx
from onnx import TensorProto, helper

from frcrn_export.exporters.graph_metadata import PREFIX, with_metadata
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME, FileEntry, Role
from frcrn_export.runtime.bundle.reader import Bundle, sha256_of
from tests.bundles import centred_manifest

OF_FILE = {"role", "precision", "above_frames", "input_limit", "streaming"}


def properties(content: bytes) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load_from_string(content).metadata_props}


def values(content: bytes) -> dict[str, Any]:
    """The fields of a manifest that a file has, by their name."""
    found = properties(content)
    return {k.removeprefix(PREFIX): json.loads(v) for k, v in found.items() if PREFIX in k}


def test_every_file_says_what_the_manifest_says(small_wave_bundle: Bundle) -> None:
    document = json.loads((small_wave_bundle.path / MANIFEST_NAME).read_bytes())
    files = [entry for entry in document["files"] if entry["format"] == "onnx"]
    assert len(files) == 4
    for entry in files:
        path = small_wave_bundle.path / entry["path"]
        found = values(path.read_bytes())
        of_file = {k: found.pop(k) for k in list(found) if k.startswith("file.")}
        assert of_file == {f"file.{name}": entry[name] for name in OF_FILE}
        assert found == {name: document[name] for name in found}
        around = {"stft", "level", "padding", "segments"}
        assert set(found) == {"schema", "domain", "sample_rate", "high_pass", *around}
        assert (entry["sha256"], entry["bytes"]) == (sha256_of(path), path.stat().st_size)
    limits = {entry["path"]: entry["input_limit"] for entry in files}
    assert limits["core.onnx"] is None
    assert limits["core.fp16.onnx"] > 1
    states = values((small_wave_bundle.path / "core.streaming.onnx").read_bytes())
    assert states["file.streaming"]["states"][0]["initial"] == 0


def model(**props: str) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [value], [])
    made = helper.make_model(graph)
    helper.set_model_props(made, props)
    return made.SerializeToString()


def described(content: bytes, role: Role) -> tuple[bytes, FileEntry]:
    return with_metadata(content, centred_manifest(), file_entry(content, "a.onnx", role, "onnx"))


def test_a_whole_pipeline_has_level_and_transform_inside() -> None:
    content, _ = described(model(), "pipeline")
    assert not {"stft", "level", "padding", "segments"} & set(values(content))
    assert values(content)["sample_rate"] == 48_000
    assert values(described(model(), "core")[0])["stft"]["center"] is True


def test_other_properties_stay_and_earlier_ones_of_ours_go() -> None:
    content, entry = described(model(weights="w", **{f"{PREFIX}file.gone": "1"}), "core")
    assert properties(content)["weights"] == "w"
    assert "file.gone" not in values(content)
    assert described(content, "core") == (content, entry)
