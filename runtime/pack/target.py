"""What a bundle is packed for: a processor, or the engines of a backend for one kind of GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import SERVED_SMS
from frcrn_export.runtime.text import shown


@dataclass(frozen=True)
class EngineTarget:
    """The engines of a `backend` that run on GPUs of the compute capability `sm`."""

    backend: TensorrtBackend
    sm: int


# By the name that --target takes; None are processors, which run the ONNX files.
TARGETS: Mapping[str, EngineTarget | None] = MappingProxyType(
    {
        "cpu": None,
        "arm64": None,
        **{
            f"{backend}:sm{sm}": EngineTarget(backend, sm)
            for backend, sms in SERVED_SMS.items()
            for sm in sms
        },
    }
)


def find_target(name: str) -> EngineTarget | None:
    """The target of this name in TARGETS. Raises UserError for another, with those there are."""
    if name in TARGETS:
        return TARGETS[name]
    close = get_close_matches(name.lower(), TARGETS, n=len(TARGETS))
    # Another number is another GPU.
    near = next((each for each in close if _number(name) in ("", _number(each))), None)
    there = f"did you mean {near}? There" if near else "there"
    raise UserError(f"unknown target '{shown(name)}'; {there} are: {', '.join(TARGETS)}")


def _number(name: str) -> str:
    return "".join(filter(str.isdecimal, name))
