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
from pathlib import Path
from typing import Any

_MAX_SIDECAR_BYTES = 1 << 20
_MAX_DEPTH = 6
_MAX_VALUES = 10_000
_SIDECAR_STEMS = ("config", "configuration", "hparams", "args")
_SIDECAR_SUFFIXES = (".json", ".yaml", ".yml")
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
        """The values under any of these names (`-` counts as `_`)."""
        wanted = set(names)
        return [said for said in self.values if said.name.replace("-", "_") in wanted]


def read_configuration(tree: object, metadata: Mapping[str, str], path: Path) -> Configuration:
    """Collect the values of the file, its metadata and the files beside it.

    Args:
        tree: The result of `read_checkpoint_file`.
        metadata: Of a safetensors file.
        path: The checkpoint, for the files beside it.
    """
    values = [Said(name, value, f"`{name}` in its metadata") for name, value in metadata.items()]
    values += (Said(name, value, f"`{where}`") for where, name, value in _walk(tree, ""))
    for file in _sidecars(path):
        values += (
            Said(name, value, f"`{where}` in {file.name}")
            for where, name, value in _walk(_read_sidecar(file), "")
        )
    return Configuration(tuple(values[:_MAX_VALUES]))


def _walk(tree: object, prefix: str, depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """(path, name, value) of all plain values in nested mappings."""
    if isinstance(tree, argparse.Namespace):
        tree = vars(tree)
    if not isinstance(tree, Mapping) or depth >= _MAX_DEPTH:
        return
    for key, value in list(tree.items())[:_MAX_VALUES]:
        name = str(key)
        where = f"{prefix}{name}"
        if isinstance(value, str | int | float | bool):
            yield where, name, value
        elif isinstance(value, list | tuple) and all(isinstance(v, str | int) for v in value):
            yield where, name, list(value)
        elif not any(part in name.lower() for part in _NOT_NETWORKS):
            yield from _walk(value, f"{where}.", depth + 1)


def _sidecars(path: Path) -> list[Path]:
    stems = dict.fromkeys((path.stem, *_SIDECAR_STEMS))
    files = (path.parent / f"{stem}{suffix}" for stem in stems for suffix in _SIDECAR_SUFFIXES)
    return [file for file in files if file != path and file.is_file()]


def _read_sidecar(file: Path) -> object:
    """The content of a YAML or JSON file; {} with a warning where it cannot be read."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_SIDECAR_BYTES + 1)
        if len(data) > _MAX_SIDECAR_BYTES:
            raise ValueError("larger than 1 MiB")
        if file.suffix == ".json":
            return json.loads(data)
        import yaml

        return yaml.safe_load(data)
    except Exception as error:  # readers may raise anything
        reason = " ".join(str(error).split())[:200]
        logger.warning("%s: not read as the configuration of the weights (%s)", file, reason)
        return {}
