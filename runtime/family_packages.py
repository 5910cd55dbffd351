"""Installed packages that bring families of networks of their own, found by entry point."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

GROUP = "frcrn_export.families"
# What loading one may end with: it is somebody else's code, which can also ask to exit.
LOADING_ERRORS = (Exception, SystemExit)
_REASON_CHARACTERS = 200
# What the commands that take a family's options call their own, which no family may take; a test
# compares them. `level` is no such name: it means the same of a module of the user's own.
# fmt: off
RESERVED_OPTIONS = frozenset((
    "amp", "as_json", "backend", "batch", "bundle", "calib", "center", "checkpoint", "chunk",
    "device", "early_stop", "explain", "flavor", "force", "fp16", "fp32", "fp8", "frames",
    "gpu", "hardware_compatible", "help", "int8", "json", "learning_rate", "log",
    "lookahead", "minutes", "model", "module", "module_input", "module_output", "multiple",
    "no_amp", "no_center", "no_tf32", "noise", "output", "random_weights", "refittable",
    "resume", "sample_rate", "samples", "schedule", "seconds", "seed", "speech", "state_dict",
    "steps", "stft", "streaming", "threads", "timing_cache", "window", "workspace",
))
# fmt: on


@dataclass(frozen=True)
class FamilyPackage:
    """A family that an installed package names.

    Attributes:
        name: Of the entry point, and where it leads: "name (module:FAMILY)".
        distribution: What pip calls the package; "" where that is not known.
        load: Imports the package and gives its family. May raise any of `LOADING_ERRORS`.
    """

    name: str
    distribution: str
    load: Callable[[], Any]


def family_packages() -> list[FamilyPackage]:
    """All that are installed, by name; none is imported yet."""
    return [
        FamilyPackage(
            f"{entry.name} ({entry.value})", entry.dist.name if entry.dist else "", entry.load
        )
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    ]


def taken_option(options: Iterable[Any]) -> str | None:
    """Why one of a family's options cannot be an option of commands, or None."""
    for option in options:
        for flag in (option.flag, *([option.negation] if option.kind == "flag" else [])):
            if flag.removeprefix("--").replace("-", "_") in RESERVED_OPTIONS:
                return f"its option {flag} is one of the commands' own; name it otherwise"
    return None


def reason_of(error: BaseException) -> str:
    """Why one was not loaded, on one short line."""
    text = " ".join(str(error).split())[:_REASON_CHARACTERS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
