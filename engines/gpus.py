"""The registry of GPUs that engines are built for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import SERVED_SMS, sm_text

DEFAULT_GPU = "rtx4090d"


@dataclass(frozen=True)
class TargetGpu:
    """One GPU. `memory_gb` is of the smallest one sold under that name.

    It is None where only the compute capability is known.
    """

    name: str
    title: str
    sm: int
    memory_gb: int | None = None
    aliases: tuple[str, ...] = ()


def _gpu(title: str, sm: int, memory_gb: int, *aliases: str) -> TargetGpu:
    return TargetGpu(_key(title), title, sm, memory_gb, aliases)


def _key(text: str) -> str:
    """A GPU's name in any spelling, reduced to its distinctive part."""
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return "".join(word for word in words if not _DECORATION.fullmatch(word))


_DECORATION = re.compile(
    r"nvidia|geforce|tesla|jetson|gpu|generation|edition|workstation|server"
    r"|blackwell|pcie|nvl|sxm\d*|hbm\d\w*|\d+gb"
)

_GPUS = (
    _gpu("RTX 4090 D", 89, 24),
    # GeForce on the desk
    _gpu("RTX 2060", 75, 6),
    _gpu("RTX 2060 Super", 75, 8),
    _gpu("RTX 2070", 75, 8),
    _gpu("RTX 2070 Super", 75, 8),
    _gpu("RTX 2080", 75, 8),
    _gpu("RTX 2080 Super", 75, 8),
    _gpu("RTX 2080 Ti", 75, 11),
    _gpu("RTX 3050", 86, 8),
    _gpu("RTX 3060", 86, 12),
    _gpu("RTX 3060 Ti", 86, 8),
    _gpu("RTX 3070", 86, 8),
    _gpu("RTX 3070 Ti", 86, 8),
    _gpu("RTX 3080", 86, 10),
    _gpu("RTX 3080 Ti", 86, 12),
    _gpu("RTX 3090", 86, 24),
    _gpu("RTX 3090 Ti", 86, 24),
    _gpu("RTX 4060", 89, 8),
    _gpu("RTX 4060 Ti", 89, 8),
    _gpu("RTX 4070", 89, 12),
    _gpu("RTX 4070 Super", 89, 12),
    _gpu("RTX 4070 Ti", 89, 12),
    _gpu("RTX 4070 Ti Super", 89, 16),
    _gpu("RTX 4080", 89, 16),
    _gpu("RTX 4080 Super", 89, 16),
    _gpu("RTX 4090", 89, 24),
    _gpu("RTX 5050", 120, 8),
    _gpu("RTX 5060", 120, 8),
    _gpu("RTX 5060 Ti", 120, 8),
    _gpu("RTX 5070", 120, 12),
    _gpu("RTX 5070 Ti", 120, 16),
    _gpu("RTX 5080", 120, 16),
    _gpu("RTX 5090", 120, 32),
    _gpu("RTX 5090 D", 120, 32),
    # GeForce in laptops
    _gpu("RTX 3060 Laptop", 86, 6),
    _gpu("RTX 3070 Laptop", 86, 8),
    _gpu("RTX 3080 Laptop", 86, 8),
    _gpu("RTX 4050 Laptop", 89, 6),
    _gpu("RTX 4060 Laptop", 89, 8),
    _gpu("RTX 4070 Laptop", 89, 8),
    _gpu("RTX 4080 Laptop", 89, 12),
    _gpu("RTX 4090 Laptop", 89, 16),
    _gpu("RTX 5060 Laptop", 120, 8),
    _gpu("RTX 5070 Laptop", 120, 8),
    _gpu("RTX 5080 Laptop", 120, 16),
    _gpu("RTX 5090 Laptop", 120, 24),
    # workstations
    _gpu("Quadro RTX 6000", 75, 24),
    _gpu("RTX A2000", 86, 6),
    _gpu("RTX A4000", 86, 16),
    _gpu("RTX A5000", 86, 24),
    _gpu("RTX A6000", 86, 48),
    _gpu("RTX 2000 Ada", 89, 16),
    _gpu("RTX 4000 Ada", 89, 20),
    _gpu("RTX 5000 Ada", 89, 32),
    _gpu("RTX 6000 Ada", 89, 48),
    _gpu("RTX PRO 6000 Blackwell", 120, 96),
    _gpu("GB10", 121, 128, "dgxspark"),
    # data centres
    _gpu("T4", 75, 16),
    _gpu("A10", 86, 24, "a10g"),
    _gpu("A40", 86, 48),
    _gpu("A30", 80, 24),
    _gpu("A100", 80, 80),
    _gpu("L4", 89, 24),
    _gpu("L40", 89, 48),
    _gpu("L40S", 89, 48),
    _gpu("H100", 90, 80),
    _gpu("H200", 90, 141),
    _gpu("B200", 100, 180),
    # Jetson
    _gpu("Jetson AGX Orin", 87, 64, "orin"),
    _gpu("Jetson Orin NX", 87, 16),
    _gpu("Jetson Orin Nano", 87, 8),
    _gpu("Jetson AGX Thor", 110, 128, "thor"),
)
# The compute capabilities of each architecture.
FAMILIES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "turing": (75,),
        "ampere": (80, 86, 87),
        "ada": (89,),
        "hopper": (90,),
        "blackwell": (100, 103, 110, 120, 121),
    }
)
GPUS: Mapping[str, TargetGpu] = MappingProxyType({gpu.name: gpu for gpu in _GPUS})
_BY_KEY = {alias: gpu for gpu in _GPUS for alias in (gpu.name, *gpu.aliases)}


def gpu_of_sm(sm: int) -> TargetGpu:
    """The entry that stands for every GPU of one compute capability."""
    return TargetGpu(f"sm{sm}", f"SM {sm_text(sm)}", sm)


def known_gpu(name: str) -> TargetGpu | None:
    """The registered GPU with this name, in any spelling, or None."""
    key = _key(name)
    return _BY_KEY.get(key) or _BY_KEY.get("rtx" + key)


def find_gpu(name: str) -> TargetGpu:
    """The GPU with this name, in any spelling, or any GPU of an SM ("8.9", "89", "sm_89").

    Raises UserError that suggests near names, or names the SMs that exist.
    """
    if gpu := known_gpu(name):
        return gpu
    if match := re.fullmatch(r"(?:sm|cc)?[ _]?(\d{1,2})\.?(\d)", name.strip().lower(), re.ASCII):
        sm = int(match[1] + match[2])
        if sm not in SERVED_SMS["tensorrt"]:
            served = ", ".join(map(sm_text, SERVED_SMS["tensorrt"]))
            raise UserError(f"no TensorRT serves SM {sm_text(sm)}; --gpu takes one of: {served}")
        return gpu_of_sm(sm)
    key = _key(name)
    near = get_close_matches("rtx" + key if key.isdecimal() else key, _BY_KEY, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else f"the default is {DEFAULT_GPU}. "
    raise UserError(
        f"unknown GPU {name!r}; {hint}An SM number (--gpu 8.9) does for any GPU, a family "
        f"({', '.join(FAMILIES)}) for its SMs"
    )
