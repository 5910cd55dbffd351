"""The command that checks the environment: what runs here, and what to install for the rest."""

import ctypes
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import click

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.commands.console import json_option, print_json, print_table
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.family_packages import (
    LOADING_ERRORS,
    FamilyPackage,
    family_packages,
    reason_of,
    taken_option,
)
from frcrn_export.runtime.gpu import Gpu, first_gpu
from frcrn_export.runtime.sessions.onnx_errors import reason_of as onnx_reason
from frcrn_export.runtime.sessions.tensorrt_backends import (
    SERVED_SMS,
    TENSORRT_BACKENDS,
    is_tensorrt_installed,
    sm_text,
)
from frcrn_export.runtime.sessions.trials import (
    try_onnx_export,
    try_onnxruntime,
    try_tensorrt,
    try_torchscript,
)

_PACKAGES = (
    "frcrn-export",
    "numpy",
    "soundfile",
    "soxr",
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-core",
    "cuda-bindings",
    "pesq",
    "pystoi",
    "matplotlib",
    "tensorboard",
)


@dataclass(frozen=True)
class Ability:
    """Something that the toolchain does; `remedy` is the command that enables it here."""

    name: str
    works: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Machine:
    """Versions by package (empty where missing), the GPU if there is one, and the abilities."""

    python: str
    system: str
    packages: dict[str, str]
    gpu: str
    providers: tuple[str, ...]
    abilities: tuple[Ability, ...]


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check the environment: try what is installed, and say what to install."""
    machine = examine()
    if as_json:
        print_json(asdict(machine))
        return
    facts = [("Python", machine.python), ("System", machine.system)]
    facts += [("GPU", machine.gpu or "no NVIDIA GPU found")]
    facts += [("ONNX Runtime providers", ", ".join(machine.providers) or "-")]
    facts += [(name, found or "not installed") for name, found in machine.packages.items()]
    print_table(("What", "Found"), facts)
    print_table(
        ("Can", "Here", "What it needs", "Command"),
        (
            (
                ability.name,
                "yes" if ability.works else "no",
                "" if ability.works else ability.detail,
                "" if ability.works else ability.remedy,
            )
            for ability in machine.abilities
        ),
    )


def examine() -> Machine:
    """Look at the machine, and try what is installed.

    Imports ONNX Runtime, TensorRT, PyTorch and installed families where present.
    """
    providers = _providers()
    gpu = _gpu()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages={name: _version(name) for name in _PACKAGES},
        gpu=_shown(gpu),
        providers=providers,
        abilities=tuple(_abilities(providers, gpu)),
    )


def _abilities(providers: tuple[str, ...], gpu: Gpu | None) -> list[Ability]:
    has_torch, has_onnx = find_spec("torch") is not None, find_spec("onnx") is not None
    on_gpu = gpu is not None
    return [
        _tried(
            "export ONNX and TorchScript",
            has_torch and has_onnx,
            "torch and onnx are needed",
            'pip install "frcrn-export[export]"',
            try_onnx_export,
        ),
        _tried(
            "run ONNX on the CPU",
            _has_module("onnxruntime"),
            "onnxruntime is needed",
            'pip install "frcrn-export[cpu]"',
            partial(try_onnxruntime, "CPUExecutionProvider"),
        ),
        _tried(
            "run ONNX on the GPU (CUDA)",
            on_gpu and "CUDAExecutionProvider" in providers,
            "an NVIDIA GPU and onnxruntime-gpu are needed",
            'pip uninstall onnxruntime && pip install "frcrn-export[gpu]"' if on_gpu else "",
            partial(try_onnxruntime, "CUDAExecutionProvider"),
        ),
        _tried(
            "run ONNX through TensorRT",
            on_gpu and "TensorrtExecutionProvider" in providers and _has_library("nvinfer"),
            "an NVIDIA GPU, onnxruntime-gpu and TensorRT's libraries are needed",
            "pip install tensorrt" if on_gpu else "",
            partial(try_onnxruntime, "TensorrtExecutionProvider"),
        ),
        *_engine_abilities(gpu),
        _tried(
            "run TorchScript",
            has_torch,
            "torch is needed",
            'pip install "frcrn-export[export]"',
            try_torchscript,
        ),
        Ability(
            "train",
            has_torch,
            "torch is needed",
            'pip install "frcrn-export[train]"',
        ),
        Ability(
            "measure quality",
            all(find_spec(name) is not None for name in ("pesq", "pystoi", "scipy")),
            "pesq (compiled from C), pystoi and scipy are needed",
            'pip install "frcrn-export[quality]"',
        ),
        Ability(
            "draw spectrograms",
            find_spec("matplotlib") is not None,
            "matplotlib is needed",
            'pip install "frcrn-export[plot]"',
        ),
        *_families(),
    ]


def _tried(
    name: str, is_there: bool, needed: str, remedy: str, attempt: Callable[[], None]
) -> Ability:
    """An ability that works if what it needs is there and an attempt succeeds."""
    if not is_there:
        return Ability(name, False, needed, remedy)
    try:
        attempt()
    except Exception as error:  # backends raise anything, their imports too
        again = remedy.replace("pip install", "pip install --force-reinstall")
        return Ability(name, False, f"installed, but fails: {onnx_reason(error)}", again)
    return Ability(name, True, needed, remedy)


def _families() -> list[Ability]:
    """The families of installed packages; unusable ones say why."""
    abilities = []
    first: dict[object, FamilyPackage] = {}
    for package in family_packages():
        try:
            family = package.load()
            options = (*getattr(family, "options", ()), *getattr(family, "training_options", ()))
            name, reason = family.name, taken_option(options) or ""
        except LOADING_ERRORS as error:
            name, reason = None, reason_of(error)
        if not reason and (other := first.setdefault(name, package)) is not package:
            reason = f"the family of {other.name} has the same name {name!r}"
        remove = f"pip uninstall {package.distribution}" if package.distribution else ""
        title = f"use the family {package.name}"
        abilities.append(Ability(title, not reason, f"left out: {reason}", remove))
    return abilities


def _engine_abilities(gpu: Gpu | None) -> list[Ability]:
    installed = {spec.name: is_tensorrt_installed(spec.name) for spec in TENSORRT_BACKENDS.values()}
    builds = installed["tensorrt-rtx"] or (installed["tensorrt"] and gpu is not None)
    builder: TensorrtBackend = "tensorrt-rtx" if installed["tensorrt-rtx"] else "tensorrt"
    return [
        _tried(
            "build engines",
            builds,
            "tensorrt-rtx is needed, or tensorrt and an NVIDIA GPU",
            _install("tensorrt-rtx"),
            partial(try_tensorrt, builder, "Builder"),
        ),
        _runs_engines("tensorrt", "TensorRT", installed["tensorrt"], gpu),
        _runs_engines("tensorrt-rtx", "TensorRT-RTX", installed["tensorrt-rtx"], gpu),
    ]


def _runs_engines(
    backend: TensorrtBackend, title: str, installed: bool, gpu: Gpu | None
) -> Ability:
    name = f"run {title} engines"
    if gpu is None:
        needed = f"an NVIDIA GPU with its driver, cuda-core and {backend} are needed"
        return Ability(name, False, needed)
    if gpu.sm not in SERVED_SMS[backend]:
        return Ability(name, False, f"a GPU that it serves is needed; SM {sm_text(gpu.sm)} is here")
    return _tried(
        name,
        installed and _has_module("cuda.core"),
        f"{backend} and cuda-core are needed",
        _install(backend),
        partial(try_tensorrt, backend, "Runtime"),
    )


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # no parent package, or one without a spec
        return sys.modules.get(name) is not None


def _install(backend: TensorrtBackend) -> str:
    return f'pip install "frcrn-export[{TENSORRT_BACKENDS[backend].extra}]"'


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _providers() -> tuple[str, ...]:
    """The providers of ONNX Runtime; none where it is missing or does not start."""
    try:
        import onnxruntime

        return tuple(onnxruntime.get_available_providers())
    except Exception:  # the trial of it gives the reason
        return ()


def _gpu() -> Gpu | None:
    try:
        return first_gpu()
    except BackendError:
        return None


def _shown(gpu: Gpu | None) -> str:
    if gpu is None:
        return ""
    cuda = ".".join(map(str, gpu.cuda))
    return f"{gpu.name}, {gpu.total_memory / 2**30:.1f} GiB, SM {sm_text(gpu.sm)}, CUDA {cuda}"


def _has_library(name: str) -> bool:
    """Whether the loader or a wheel provides a shared library."""
    if find_spec("tensorrt_libs") is not None:
        return True
    names = (f"{name}_11.dll", f"{name}_10.dll") if sys.platform == "win32" else (f"lib{name}.so",)
    for candidate in (*names, f"lib{name}.so.11", f"lib{name}.so.10"):
        try:
            ctypes.CDLL(candidate)
        except OSError:
            continue
        return True
    return False
