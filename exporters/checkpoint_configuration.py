"""The configuration of a network in a checkpoint, or in a file beside it.

Trainers keep settings in many places: the metadata of a safetensors file, a mapping beside the
state dict (`config`, `hyper_parameters`, `args` …), a YAML or JSON file in the same folder. All
plain values are collected with their path, and looked up by the names that a family declares.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from frcrn_export.runtime.errors import reason

_MAX_SIDECAR_BYTES = {".json": 1 << 20, ".yaml": 1 << 18, ".yml": 1 << 18}  # YAML takes a minute
_MAX_DEPTH = 6
_MAX_VALUES = 10_000
_MAX_MERGED = 100  # mappings in one "<<" of YAML
_MAX_SCALAR = 4_000  # characters
_SIDECAR_STEMS = ("config", "configuration", "hparams", "args")
# Sections about training: the same names mean other things there.
_NOT_NETWORKS = ("optim", "sched", "scaler", "callback", "loop", "ema_state")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """One value and where it stands: "`config.strides`", "`strides` in config.yaml"."""

    name: str
    value: object
    where: str


@dataclass(frozen=True)
class Configuration:
    """All plain values in and beside a checkpoint."""

    values: tuple[Said, ...] = ()

    def find(self, names: Iterable[str]) -> list[Said]:
        """The values under any of these names, in any case (`-` counts as `_`)."""
        wanted = set(names)
        return [said for said in self.values if said.name.replace("-", "_").lower() in wanted]


def read_configuration(tree: object, metadata: Mapping[str, str], path: Path) -> Configuration:
    """Collect the values of the file, its metadata and the files beside it.

    Args:
        tree: The result of `read_checkpoint_file`.
        metadata: Of a safetensors file.
        path: The checkpoint, for the files beside it.
    """
    values = [
        Said(name, value, f"`{where}` in its metadata")
        for where, name, value in _values({name: _plain(text) for name, text in metadata.items()})
    ]
    values += (Said(name, value, f"`{where}`") for where, name, value in _values(tree))
    for file in _sidecars(path):
        values += (
            Said(name, value, f"`{where}` in {file.name}")
            for where, name, value in _values(_read_sidecar(file))
        )
    return Configuration(tuple(values[:_MAX_VALUES]))


def _values(tree: object) -> Iterator[tuple[str, str, Any]]:
    return islice(_walk(tree, "", 0, set()), _MAX_VALUES)


def _walk(tree: object, prefix: str, depth: int, seen: set[int]) -> Iterator[tuple[str, str, Any]]:
    """(path, name, value) of all plain values in nested mappings, of each mapping once."""
    if isinstance(tree, argparse.Namespace):
        tree = vars(tree)
    if not isinstance(tree, Mapping) or depth >= _MAX_DEPTH or id(tree) in seen:
        return
    seen.add(id(tree))  # a pickle or YAML may hold a mapping many times, or within itself
    for key, value in islice(tree.items(), _MAX_VALUES):
        name = str(key)
        where = f"{prefix}{name}"
        if isinstance(value, str | int | float | bool):
            yield where, name, value
        elif isinstance(value, list | tuple) and all(
            isinstance(each, str | int | float) for each in value
        ):
            yield where, name, list(value)
        elif not any(part in name.lower() for part in _NOT_NETWORKS):
            yield from _walk(value, f"{where}.", depth + 1, seen)


def _plain(text: str) -> object:
    """What a text of metadata, which has no other values, says in JSON; else the text."""
    if not text.startswith("{") or len(text) > _MAX_SIDECAR_BYTES[".json"]:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _sidecars(path: Path) -> list[Path]:
    stems = dict.fromkeys((path.stem, *_SIDECAR_STEMS))
    files = (path.parent / f"{stem}{suffix}" for stem in stems for suffix in _MAX_SIDECAR_BYTES)
    return [file for file in files if file != path and file.is_file()]


def _read_sidecar(file: Path) -> object:
    """The content of a YAML or JSON file; {} with a warning where it cannot be read."""
    most = _MAX_SIDECAR_BYTES[file.suffix]
    try:
        with file.open("rb") as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise ValueError(f"larger than {most >> 10} KiB")
        return json.loads(data) if file.suffix == ".json" else _read_yaml(data)
    except Exception as error:  # readers may raise anything
        logger.warning("%s: not read as the configuration of the weights (%s)", file, reason(error))
        return {}


def _read_yaml(data: bytes) -> object:
    """The content of YAML without what multiplies it: merges of merges, numbers without an end."""
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            if any(len(value.value) > _MAX_MERGED for key, value in node.value if _merges(key)):
                raise ValueError("it merges too many mappings")
            super().flatten_mapping(node)
            if len(node.value) > _MAX_VALUES:
                raise ValueError("its merged mappings are too large")

        def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
            if isinstance(node, yaml.ScalarNode) and len(node.value) > _MAX_SCALAR:
                raise ValueError("a value is too long")
            return super().construct_scalar(node)

    # Lightning writes tuples so; the safe loader knows lists alone.
    Loader.add_constructor("tag:yaml.org,2002:python/tuple", _sequence)
    return yaml.load(data, Loader)


def _sequence(loader: Any, node: Any) -> list[Any]:
    return list(loader.construct_sequence(node))


def _merges(key: Any) -> bool:
    return bool(key.tag == "tag:yaml.org,2002:merge")
