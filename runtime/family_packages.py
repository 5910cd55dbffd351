"""Installed packages with families of networks of their own, found by entry point."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from frcrn_export.runtime.reserved_options import is_reserved

GROUP = "frcrn_export.families"
# What loading may raise: it runs third-party code, which may even exit.
LOADING_ERRORS = (Exception, SystemExit)
_REASON_CHARACTERS = 200


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
    """All installed families by name; none is imported yet."""
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
            if is_reserved(flag):
                return f"its option {flag} is one of the commands' own; name it otherwise"
    return None


def reason_of(error: BaseException) -> str:
    """Why a family was not loaded, on one short line."""
    text = " ".join(str(error).split())[:_REASON_CHARACTERS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
