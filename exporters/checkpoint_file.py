"""Checkpoint files: reading one without running code in it."""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from frcrn_export.exporters.checkpoint_configuration import Configuration
from frcrn_export.runtime.errors import out_of_memory, reason

ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
PICKLE_MAGIC = b"\x80"  # torch.save before, and Python's pickle

_MAX_UNPACKED = 10  # times the size of the file
_MAX_TENSORS = 32_768  # with an optimizer and averages; PyTorch takes a second for each 4,000

SAVE_HINT = (
    "save the weights alone where it was made: torch.save(model.state_dict(), 'weights.pth')"
)


class _TooManyTensors(ValueError):
    """More tensors than are read; the argument is their number."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network, with the configuration in its file.

    Attributes:
        state: The weights under their canonical names, each once, without counters and constants.
        evidence: Constants that the family compares with the network's transform.
        configuration: Of the file, its metadata and the files beside it.
        metadata: Of a safetensors file, else {}.
        path: The file.
        sha256: Of the file, 64 hex digits.
        model: The model that the weights were recognised as, or None.
        key: The path of the state dict in the file ("model"), or "" for the file itself.
        others: The other state dicts in the file, which `key` chooses from.
        prefix: The prefix of every name of the network in the file.
        ignored: The tensors beside the network.
        unnamed: Lists of tensors without names in the file, each with its length.
    """

    state: dict[str, Tensor]
    evidence: dict[str, Tensor]
    configuration: Configuration
    metadata: dict[str, str]
    path: Path
    sha256: str
    model: str | None
    key: str
    others: tuple[str, ...]
    prefix: str
    ignored: tuple[str, ...]
    unnamed: tuple[str, ...]


def read_checkpoint_file(path: Path) -> tuple[object, dict[str, str]]:
    """The content of `path`, tensors on the CPU, and the metadata of a safetensors file (else {}).

    The first bytes decide the format, not the suffix. Pickled code is refused, never run. Raises
    ValueError with the reason where the file cannot be read as a checkpoint.
    """
    if not path.exists():
        raise ValueError("no such file: give the path of a checkpoint")
    if not path.is_file():
        raise ValueError("not a file: give the path of a checkpoint")
    head = _head(path)
    if not head:
        raise ValueError("the file is empty: copy or download it again")
    try:
        str(path).encode()  # the readers take no other names
        if head.startswith(ZIP_MAGIC):
            _require_bounded(path)
            return _torch_load(path, mmap=True), {}
        if head.startswith(PICKLE_MAGIC):
            _require_bounded(path)
            return _torch_load(path, mmap=False), {}
        if head[8:9] == b"{":  # after the length of the header, in 8 bytes
            return _read_safetensors(path)
    except Exception as error:  # the bytes decide what the readers raise, not only their own errors
        raise ValueError(_reason(error)) from error
    raise ValueError(
        "not a checkpoint: neither written by torch.save nor a safetensors file; "
        "give the .pth, .pt, .bin, .th, .tar or .safetensors file of the weights"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(9)
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror}): check its permissions") from error


def _require_bounded(path: Path) -> None:
    """Raise an error for an archive or a pickle that takes more memory than its size explains.

    PyTorch compresses code alone, and allows `bytearray`, of any length, among the globals.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if len(members) > _MAX_TENSORS:
            raise _TooManyTensors(len(members))
        unpacked = sum(member.file_size for member in members)
        if unpacked > _MAX_UNPACKED * path.stat().st_size:
            raise ValueError(f"{unpacked / 1e6:.0f} MB unpacked")
        if any(m.filename.endswith(".pkl") and m.compress_type for m in members):
            raise ValueError("a compressed pickle")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if content.find(b"\nbytearray\n") >= 0:
            raise pickle.UnpicklingError("GLOBAL builtins.bytearray")


def _torch_load(path: Path, mmap: bool) -> object:
    # Trainers keep NumPy scalars beside the weights, such as best_score.
    with torch.serialization.safe_globals(_plain_globals()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about odd files, which are refused anyway
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _plain_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The globals of pickled NumPy numbers (of NumPy 1 and 2) and `argparse.Namespace`."""
    scalar: Any = np.float64(0).__reduce__()[0]  # numpy's private `scalar`, wherever it lives
    numbers = (np.float64, np.float32, np.float16, np.int64, np.int32, np.bool_)
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        argparse.Namespace,  # plain values: how many trainers keep their arguments
        np.dtype,
        *(type(np.dtype(number)) for number in numbers),
    ]


def _read_safetensors(path: Path) -> tuple[object, dict[str, str]]:
    with safe_open(path, framework="pt", device="cpu") as file:
        if len(file.keys()) > _MAX_TENSORS:
            raise _TooManyTensors(len(file.keys()))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, dict(file.metadata() or {})


def _reason(error: Exception) -> str:
    """The reason of a reader's error, in one line."""
    if out_of_memory(error) or isinstance(error, UnicodeEncodeError):
        return reason(error)
    if isinstance(error, _TooManyTensors):
        return f"{error} tensors, of which at most {_MAX_TENSORS} are read; {SAVE_HINT}"
    text = str(error)
    code = re.search(r"GLOBAL (\S+)", text)
    if code:
        return f"holds pickled code ({code[1]}), which is never run; {SAVE_HINT}"
    if isinstance(error, pickle.UnpicklingError) and "Unsupported operand" in text:
        return f"damaged, or a pickle of other things than weights; {SAVE_HINT}"
    if "TorchScript" in text:
        return f"a TorchScript program, not a checkpoint; {SAVE_HINT}"
    return "truncated, damaged or not a checkpoint: copy or download it again"
