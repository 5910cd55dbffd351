"""The machine of a measurement: what its numbers depend on, and how busy others keep it."""

import os
import platform
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import Gpu, first_gpu
from frcrn_export.runtime.processors import usable_processors

Word = Annotated[str, Meta(max_length=255)]

_CPUINFO, _MEMINFO, _STAT = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/proc/stat")
_STATUS, _CACHES = Path("/proc/self/status"), Path("/sys/devices/system/cpu/cpu0/cache")
# What ONNX Runtime's kernels are chosen by.
_INSTRUCTIONS = frozenset(
    (
        *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
        *("avx_vnni", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve"),
    )
)
_PACKAGES = (
    *("frcrn-export", "numpy", "onnxruntime", "onnxruntime-gpu", "torch"),
    *("tensorrt", "tensorrt-rtx"),
)
_STEAL = 7  # of the numbers after "cpu" in /proc/stat


class Machine(Struct, frozen=True, kw_only=True):
    """What the numbers of a run depend on. `memory_bytes` 0, `gpu` "" and `cuda` "": none known.

    `cores` are those of the machine, `usable` those that the process may use. `instructions` are
    the instruction sets that kernels are chosen by; empty where the system does not list them.
    `cuda` is the newest version that the GPU's driver serves.
    """

    processor: Word
    cores: Annotated[int, Meta(ge=1, le=65_536)]
    usable: Annotated[int, Meta(ge=1, le=65_536)]
    instructions: Annotated[tuple[Word, ...], Meta(max_length=64)]
    memory_bytes: Annotated[int, Meta(ge=0, le=2**50)]
    system: Word
    python: Word
    gpu: Word = ""
    cuda: Word = ""
    versions: dict[str, Word] = {}

    @property
    def onnxruntime(self) -> str:
        """The version of ONNX Runtime, "" without it."""
        return self.versions.get("onnxruntime") or self.versions.get("onnxruntime-gpu", "")

    def times_as(self, other: "Machine") -> bool:
        """Whether absolute times may be compared: the same kind of processor, GPU and system."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("processor", "cores", "usable", "instructions", "system", "gpu")
        )

    def runs_the_kernels_of(self, other: "Machine") -> bool:
        """Whether ONNX Runtime optimises graphs alike: its version and the instruction sets."""
        known = bool(self.instructions) and bool(self.onnxruntime)
        kernels = (self.onnxruntime, self.instructions)
        return known and kernels == (other.onnxruntime, other.instructions)


@cache
def this_machine() -> Machine:
    """The machine that runs this."""
    gpu = _gpu()
    return Machine(
        processor=_field("model name") or _field("CPU part") or platform.processor() or "unknown",
        cores=os.cpu_count() or 1,
        usable=usable_processors(),
        instructions=_instructions(),
        memory_bytes=_kilobytes(_MEMINFO, "MemTotal:") or 0,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        gpu=gpu.name if gpu else "",
        cuda="{}.{}".format(*gpu.cuda) if gpu else "",
        versions={name: found for name in _PACKAGES if (found := _version(name))},
    )


def stolen_seconds(stat: Path = _STAT) -> float | None:
    """Processor time since the start that a hypervisor gave to others; None where unknown."""
    try:
        words = stat.read_text().partition("\n")[0].split()
        return int(words[1 + _STEAL]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def processor_seconds() -> float:
    """Processor time of this process, all threads."""
    return time.process_time()


def peak_bytes(status: Path = _STATUS) -> int | None:
    """The most memory that this process has held, None where the system does not say."""
    return _kilobytes(status, "VmHWM:")


def cache_bytes(caches: Path = _CACHES) -> int | None:
    """The size of a processor's second-level cache, None where the system does not say."""
    for folder in sorted(caches.glob("index*")):
        if _lines(folder / "level") == ["2"]:
            size = "".join(_lines(folder / "size")).removesuffix("K")
            return int(size) * 1024 if size.isdecimal() else None
    return None


def _instructions() -> tuple[str, ...]:
    words = (_field("flags") or _field("Features")).split()
    return tuple(sorted(_INSTRUCTIONS.intersection(words)))


def _field(name: str) -> str:
    """The first value of a field of /proc/cpuinfo, "" without one."""
    for line in _lines(_CPUINFO):
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _kilobytes(path: Path, name: str) -> int | None:
    """A number of kB in a file of /proc, in bytes."""
    for line in _lines(path):
        words = line.split()
        if words[:1] == [name] and len(words) > 1 and words[1].isdecimal():
            return int(words[1]) * 1024
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _gpu() -> Gpu | None:
    try:
        return first_gpu()
    except BackendError:
        return None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
