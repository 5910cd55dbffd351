"""The JSON Schema of manifests, for readers in other languages and for editors.

It is generated from the types of `manifest.py` and committed as `manifest.schema.json`, which the
package holds. Relations between fields are in docs/bundle.md, and in `parse.py`.
"""

import json
import re
from typing import Any

import msgspec

from frcrn_export.runtime.bundle.manifest import SCHEMA_VERSION, Manifest

SCHEMA_NAME = "manifest.schema.json"

_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")


def manifest_schema() -> str:
    """The schema as indented JSON; the same text every time."""
    (schema,), parts = msgspec.json.schema_components((Manifest,))
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"manifest.json of a frcrn-export bundle, schema {SCHEMA_VERSION}",
        **schema,
        "$defs": {name: _unbroken(part) for name, part in sorted(parts.items())},
    }
    whole = described["$defs"]["Manifest"]
    whole["properties"]["schema"] = {"const": SCHEMA_VERSION}
    whole["required"] = ["schema", *whole["required"]]
    return json.dumps(described, indent=2) + "\n"


def _unbroken(part: dict[str, Any]) -> dict[str, Any]:
    """A type with its docstring in one line a paragraph."""
    if "description" in part:
        part["description"] = _LINE_BREAK.sub(" ", part["description"])
    return part
