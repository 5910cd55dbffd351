"""The JSON Schema that the package holds."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.schema import SCHEMA_NAME, manifest_schema
from frcrn_export.runtime.errors import BundleError
from tests.fuzz.bundle_readers import manifests

SHIPPED = files("frcrn_export.runtime.bundle").joinpath(SCHEMA_NAME).read_text()
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SHIPPED))


def test_the_shipped_schema_is_that_of_the_types() -> None:
    again = f"run: frcrn-export inspect --schema > runtime/bundle/{SCHEMA_NAME}"
    assert manifest_schema() == SHIPPED, again
    VALIDATOR.check_schema(VALIDATOR.schema)


def test_manifests_of_every_kind_are_valid(tmp_path: Path, wave_unet_bundle: Path) -> None:
    documents = [*manifests(tmp_path), (wave_unet_bundle / MANIFEST_NAME).read_bytes()]
    for document in documents:
        VALIDATOR.validate(json.loads(document))


def changed(path: Path, *keys: str | int, value: Any) -> dict[str, Any]:
    """The manifest of a bundle with one other value, or without the field where it is `...`."""
    document: dict[str, Any] = json.loads((path / MANIFEST_NAME).read_bytes())
    *outer, last = keys
    place: Any = document
    for key in outer:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("schema",), 3),
        (("schema",), ...),
        (("sample_rate",), 0),
        (("sample_rate",), "16000"),
        (("domain",), "cepstrum"),
        (("padding", "size"), 2**21 + 1),
        (("padding",), None),
        (("segments",), ...),
        (("files", 0, "sha256"), "0" * 63),
        (("files", 0, "role"), "kernel"),
        (("files", 0, "bytes"), -1),
        (("files", 0, "inputs"), [{"name": "x", "dtype": "float32", "shape": [0]}]),
        (("model",), "x" * 256),
        (("high_pass", "cutoff_hz"), 0.0),
        (("options",), ["--level; rm"]),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(
    wave_unet_bundle: Path, keys: tuple[str | int, ...], value: Any
) -> None:
    document = changed(wave_unet_bundle, *keys, value=value)
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(BundleError):
        parse_manifest(json.dumps(document).encode())


def test_unknown_fields_are_taken_by_both(wave_unet_bundle: Path) -> None:
    document = changed(wave_unet_bundle, "files", 0, "colour", value="red")
    VALIDATOR.validate(document)
    parse_manifest(json.dumps(document).encode())
