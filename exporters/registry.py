"""The registry: families found by folder and by entry point, and their models."""

import logging
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

from frcrn_export.exporters.family import Family, ModelSpec, Option
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.family_packages import (
    LOADING_ERRORS,
    family_packages,
    reason_of,
    taken_option,
)

_FOLDER = "frcrn_export.exporters.families"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BrokenFamily:
    """An unusable family, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Registry:
    """All usable families by name, their models, and the unusable families."""

    families: Mapping[str, Family]
    models: Mapping[str, ModelSpec]
    family_of_model: Mapping[str, Family]
    broken: tuple[BrokenFamily, ...]

    @property
    def default(self) -> ModelSpec:
        """The default model of commands."""
        return next(spec for spec in self.models.values() if spec.is_default)


@cache
def registry() -> Registry:
    """The families of this installation, the built-in ones first."""
    families: dict[str, Family] = {}
    models: dict[str, ModelSpec] = {}
    owner: dict[str, Family] = {}
    broken: list[BrokenFamily] = []
    for source, load in _sources():
        try:
            family = load()
            reason = _why_not(family, families, models)
        except LOADING_ERRORS as error:
            reason = reason_of(error)
        if reason:
            logger.warning("family %s is left out: %s", source, reason)
            broken.append(BrokenFamily(source, reason))
            continue
        families[family.name] = family
        for spec in family.models:
            models[spec.name] = spec
            owner[spec.name] = family
    return Registry(
        MappingProxyType(families),
        MappingProxyType(models),
        MappingProxyType(owner),
        tuple(broken),
    )


def models() -> Mapping[str, ModelSpec]:
    """All models by name."""
    return registry().models


def find_model(name: str) -> ModelSpec:
    """The spec with this name. Raises UserError that suggests the nearest one."""
    known = models()
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise UserError(f"unknown model {name!r}; did you mean {near}? Run: frcrn-export models")


def family_of(spec: ModelSpec) -> Family:
    """The family that a model belongs to."""
    return registry().family_of_model[spec.name]


def all_options(*, training: bool = False) -> dict[str, list[tuple[Family, Option]]]:
    """The options of all families by name, with their families; `train` adds training options."""
    found: dict[str, list[tuple[Family, Option]]] = {}
    for family in registry().families.values():
        for option in (*family.options, *(family.training_options if training else ())):
            found.setdefault(option.name, []).append((family, option))
    return found


def _sources() -> list[tuple[str, Callable[[], Any]]]:
    """(origin, loader) of each family."""
    found: list[tuple[str, Callable[[], Any]]] = []
    for module in pkgutil.iter_modules(import_module(_FOLDER).__path__):
        path = f"{_FOLDER}.{module.name}"
        found.append((module.name, partial(_family_in, path)))
    found += ((package.name, package.load) for package in family_packages())
    return found


def _family_in(module: str) -> Any:
    return import_module(module).FAMILY


def _why_not(
    family: object, families: Mapping[str, Family], models: Mapping[str, ModelSpec]
) -> str | None:
    """Why a family conflicts with the others, or None."""
    if not isinstance(family, Family):
        return f"is {type(family).__name__}, not a Family (see docs/adding_a_network.md)"
    if family.name in families:
        return f"a family named {family.name!r} is already there"
    if not family.models or not family.landmarks:
        return "has no models, or no landmarks (see docs/adding_a_network.md)"
    for spec in family.models:
        if spec.name in models:
            return f"a model named {spec.name!r} is already there"
    options = (*family.options, *family.training_options)
    if taken := taken_option(options):
        return taken
    for option in options:
        for other in families.values():
            for theirs in (*other.options, *other.training_options):
                if option.name == theirs.name and option.kind != theirs.kind:
                    return f"its option {option.flag} is of another kind than that of {other.name}"
    return None
