"""What a runtime needs to know, in the metadata of an ONNX file as in the manifest.

A program that has the file alone finds it there. Each property is a field of the manifest, or of
the file's entry, as JSON; docs/bundle.md says which.
"""

import hashlib

import msgspec
import onnx

from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest

PREFIX = "frcrn_export."
_OF_BUNDLE = ("schema", "domain", "sample_rate", "high_pass")
_AROUND_A_CORE = ("stft", "level", "padding", "segments")  # a whole pipeline has these inside
_OF_FILE = ("role", "precision", "above_frames", "input_limit", "streaming")


def with_metadata(content: bytes, manifest: Manifest, entry: FileEntry) -> tuple[bytes, FileEntry]:
    """An ONNX file with the properties of its bundle and its entry, and the entry of that file."""
    model = onnx.load_from_string(content)
    kept = {p.key: p.value for p in model.metadata_props if not p.key.startswith(PREFIX)}
    onnx.helper.set_model_props(model, {**kept, **_properties(manifest, entry)})
    content = model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(content).hexdigest()
    return content, msgspec.structs.replace(entry, sha256=sha256, bytes=len(content))


def _properties(manifest: Manifest, entry: FileEntry) -> dict[str, str]:
    of_bundle = _OF_BUNDLE if entry.role == "pipeline" else (*_OF_BUNDLE, *_AROUND_A_CORE)
    fields = {name: getattr(manifest, name) for name in of_bundle}
    fields |= {f"file.{name}": getattr(entry, name) for name in _OF_FILE}
    return {PREFIX + name: msgspec.json.encode(value).decode() for name, value in fields.items()}
