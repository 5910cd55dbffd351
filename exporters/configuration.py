"""What a checkpoint, or a file beside it, says of the network: its configuration.

Trainers keep settings in many places: the metadata of a safetensors file, a mapping beside the
state dict (`config`, `hyper_parameters`, `args` …), a YAML or JSON file in the same folder. All
plain values are gathered with their path, and looked up by the names that a family declares.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frcrn_export.exporters.family import (
    Family,
    ModelSpec,
    Option,
    Setting,
    parse_setting,
    setting_text,
)
from frcrn_export.runtime.errors import UserError

_MAX_SIDECAR_BYTES = 1 << 20
_MAX_DEPTH = 6
_MAX_VALUES = 10_000
_SIDECAR_STEMS = ("config", "configuration", "hparams", "args")
_SIDECAR_SUFFIXES = (".json", ".yaml", ".yml")
# Settings of trainers, not of networks: a schedule's `strides` would be another thing.
_NOT_NETWORKS = ("optim", "sched", "scaler", "callback", "loop", "ema_state")
_WINDOW = ("win_type", "window_type", "window_fn", "window", "wintype")
_HANN = ("hann", "hanning", "sqrt_hann", "sqrthann", "hann_window", "torch.hann_window")
_OTHER_WINDOWS = ("hamming", "blackman", "kaiser", "bartlett", "boxcar", "rect", "rectangular")
# What configurations call the sample rate and the transform; each a whole number.
_SAMPLE_RATE = ("sample_rate", "sampling_rate", "samplerate", "sr", "fs")
_STFT = {
    "fft_length": ("n_fft", "fft_len", "fft_length", "fft_size", "nfft"),
    "window_length": ("win_length", "win_len", "window_length", "win_size", "window_size"),
    "hop_length": ("hop_length", "hop_len", "hop_size", "win_inc"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """One value and where it stands: "`config.strides`", "`strides` in config.yaml"."""

    name: str
    value: object
    where: str


@dataclass(frozen=True)
class Assumption:
    """A setting that nothing says, what was taken for it, and why."""

    setting: str
    value: str
    reason: str


@dataclass(frozen=True)
class Configuration:
    """All plain values in and beside a checkpoint."""

    values: tuple[Said, ...] = ()

    def find(self, names: Iterable[str]) -> list[Said]:
        """The values under any of these names (`-` counts as `_`)."""
        wanted = set(names)
        return [said for said in self.values if said.name.replace("-", "_") in wanted]


def read_configuration(tree: object, metadata: Mapping[str, str], path: Path) -> Configuration:
    """Gather what the file's contents, its metadata and the files beside it say.

    Args:
        tree: What `read_checkpoint_file` gave.
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


def resolve(
    family: Family,
    spec: ModelSpec,
    facts: Mapping[str, Setting],
    given: Mapping[str, Setting],
    configuration: Configuration,
    *,
    known: bool,
) -> tuple[dict[str, Setting], tuple[Assumption, ...]]:
    """A value for every setting of a network, and which of them are assumptions.

    Args:
        family: Of the network.
        spec: The model.
        facts: The settings that its tensors show.
        given: What the user said, by option name.
        configuration: What the checkpoint says.
        known: Whether the defaults are known to be right: of published weights, of random ones.

    Raises:
        UserError: The user says something else than the checkpoint.
        ValueError: The checkpoint contradicts itself or its tensors; names both sides.
    """
    for name, fact in facts.items():
        for said in configuration.find((name,)):
            if _differs(fact, said.value):
                raise ValueError(
                    f"{said.where} says {name} {_text(said.value)}, the tensors "
                    f"{setting_text(fact)}"
                )
    _check_transform(spec, configuration)
    settings, assumptions = dict(facts), []
    for option in family.options:
        said_value = _said(option, configuration)
        if option.name in given:
            value = given[option.name]
            if said_value is not None and said_value[0] != value and not option.choice:
                raise UserError(
                    f"{option.flag} {setting_text(value)}: the checkpoint says "
                    f"{setting_text(said_value[0])} ({said_value[1]}); leave out {option.flag}"
                )
        elif said_value is not None:
            value = said_value[0]
        else:
            value = option.assumed(facts)
            if not known:
                reason = f"neither the file nor one beside it says; change it with {option.flag}"
                assumptions.append(Assumption(option.name, setting_text(value), reason))
        settings[option.name] = value
    return settings, tuple(assumptions)


def _said(option: Option, configuration: Configuration) -> tuple[Setting, str] | None:
    """What a configuration says of an option and where; raises ValueError for two answers."""
    answers: dict[Setting, str] = {}
    for said in configuration.find((option.name, *option.aliases)):
        try:
            answers.setdefault(option.parse(said.value), said.where)
        except ValueError as error:
            raise ValueError(f"{said.where} is {_text(said.value)}: {error}") from error
    if len(answers) > 1:
        (one, here), (two, there) = list(answers.items())[:2]
        raise ValueError(
            f"{here} says {option.name} {setting_text(one)}, {there} {setting_text(two)}: "
            "keep the one that the network was trained with"
        )
    return next(iter(answers.items()), None)


def _check_transform(spec: ModelSpec, configuration: Configuration) -> None:
    """Raise ValueError where a configuration has another sample rate or STFT than the model."""
    rows: list[tuple[str, tuple[str, ...], int]] = [("sample rate", _SAMPLE_RATE, spec.sample_rate)]
    if spec.stft is not None:
        rows += [
            (name.replace("_", " "), names, getattr(spec.stft, name))
            for name, names in _STFT.items()
        ]
    for what, names, expected in rows:
        for said in configuration.find(names):
            if _differs(expected, said.value):
                raise ValueError(
                    f"{said.where} says {what} {_text(said.value)}, {spec.name} has {expected}: "
                    "give another --model, or the weights alone if that value is of other things"
                )

    if spec.stft is not None:
        for said in configuration.find(_WINDOW):
            name = str(said.value).lower()
            hann = spec.stft.window in _HANN
            if (hann and name in _OTHER_WINDOWS) or (not hann and name in _HANN):
                raise ValueError(
                    f"{said.where} says the window is {_text(said.value)}, {spec.name} has "
                    f"{spec.stft.window}: give another --model"
                )


def _differs(expected: Setting, value: object) -> bool:
    """Whether a value in a configuration contradicts a known one; other kinds do not."""
    if isinstance(expected, tuple) and not (isinstance(value, list) or "," in str(value)):
        return False  # such as `channels: 1`, of the audio
    kinds = {bool: "flag", int: "integer", tuple: "integers", str: "text"}
    try:
        return parse_setting(kinds[type(expected)], value) != expected
    except ValueError:
        return False


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
    """What a YAML or JSON file holds; {} with a warning where it cannot be read."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_SIDECAR_BYTES + 1)
        if len(data) > _MAX_SIDECAR_BYTES:
            raise ValueError("larger than 1 MiB")
        if file.suffix == ".json":
            return json.loads(data)
        import yaml

        return yaml.safe_load(data)
    except Exception as error:  # the bytes decide what the readers raise
        reason = " ".join(str(error).split())[:200]
        logger.warning("%s: not read as the configuration of the weights (%s)", file, reason)
        return {}


def _text(value: object) -> str:
    """A value out of a file, short and on one line."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return ascii(text)[1:-1][:80]
