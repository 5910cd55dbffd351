"""Families are found by folder and by entry point; what is broken is left out, and named."""

from collections.abc import Iterator
from typing import Any

import click
import pytest

from frcrn_export.cli import cli
from frcrn_export.exporters.families.frcrn import FAMILY as FRCRN
from frcrn_export.exporters.families.wave_unet import FAMILY as WAVE_UNET
from frcrn_export.exporters.family import Family, ModelSpec, Option
from frcrn_export.exporters.registry import Registry, all_options, find_model, registry
from frcrn_export.runtime import family_packages
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.reserved_options import RESERVED_OPTIONS


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    yield
    registry.cache_clear()


class Other(Family):
    name = "other"
    models = (ModelSpec("other-48k", "another", "other weights", sample_rate=48_000),)
    landmarks = ("fc.weight",)

    def recognise(self, state: Any) -> str | None:
        return "other-48k" if "fc.weight" in state else None

    def build(self, spec: Any, settings: Any) -> Any: ...

    def lower(self, network: Any) -> Any: ...

    def processing(self, spec: Any, network: Any, settings: Any) -> Any: ...


def registry_with(monkeypatch: pytest.MonkeyPatch, *families: object) -> Registry:
    """The registry where installed packages bring these; an exception is what importing raises."""

    class Entry:
        def __init__(self, index: int, family: object) -> None:
            self.name, self.value, self.family = f"entry{index}", "package:FAMILY", family
            self.dist = None

        def load(self) -> object:
            if isinstance(self.family, BaseException):
                raise self.family
            return self.family

    entries = [Entry(index, family) for index, family in enumerate(families)]
    monkeypatch.setattr(family_packages, "entry_points", lambda group: entries)
    registry.cache_clear()
    return registry()


def test_the_families_of_the_product() -> None:
    assert list(registry().families) == ["frcrn", "wave_unet", "wave_unet_12x24"]
    assert registry().broken == ()
    assert registry().default.name == "wave-unet-16k"
    assert family_packages.GROUP == "frcrn_export.families"


def test_a_family_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Other()
    found = registry_with(monkeypatch, other)
    assert found.families["other"] is other
    assert find_model("other-48k").sample_rate == 48_000
    assert found.default.name == "wave-unet-16k"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (ImportError("no module named jax"), "ImportError: no module named jax"),
        (SyntaxError("bad"), "SyntaxError: bad"),
        (ValueError("first\nsecond " + "x" * 1_000), "ValueError: first second xxx"),
        (SystemExit(3), "SystemExit: 3"),
        (type("Empty", (Other,), {"landmarks": ()})(), "has no models, or no landmarks"),
        (object(), "is object, not a Family"),
        (FRCRN, "a family named 'frcrn' is already there"),
    ],
)
def test_a_broken_family_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, broken: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = registry_with(monkeypatch, broken, Other())
    (left_out,) = found.broken
    assert left_out.name == "entry0 (package:FAMILY)"
    assert reason in left_out.reason
    assert "entry0" in caplog.text
    assert "other" in found.families


def test_two_models_with_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Other()
    twin.models = WAVE_UNET.models
    (left_out,) = registry_with(monkeypatch, twin).broken
    assert left_out.reason == "a model named 'wave-unet-16k' is already there"


def test_two_kinds_of_one_option(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Other()
    twin.options = (Option("strides", "text", "help", default=""),)
    (left_out,) = registry_with(monkeypatch, twin).broken
    assert left_out.reason == "its option --strides is of another kind than that of wave_unet"


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        (Option("output", "text", "help", default=""), "--output"),
        (Option("state_dict", "text", "help", default=""), "--state-dict"),
        (Option("seed", "integer", "help", default=0), "--seed"),  # how a command keeps another
        (Option("tf32", "flag", "help", default=True), "--no-tf32"),
        (Option("steady", "flag", "help", default=True, negated="--force"), "--force"),
    ],
)
@pytest.mark.parametrize("where", ["options", "training_options"])
def test_an_option_that_is_one_of_the_commands(
    monkeypatch: pytest.MonkeyPatch, option: Option, flag: str, where: str
) -> None:
    family = type("Taking", (Other,), {where: (option,)})()
    found = registry_with(monkeypatch, family)
    (left_out,) = found.broken
    assert "other" not in found.families
    assert left_out.reason == f"its option {flag} is one of the commands' own; name it otherwise"


def test_the_options_of_commands_are_reserved() -> None:
    families = all_options(training=True)
    names = {"help"}
    for command in ("onnx", "torchscript", "trt", "train"):
        found = cli.get_command(click.Context(cli), command)
        for parameter in found.params if found else ():
            if parameter.name not in families:
                flags = (*parameter.opts, *parameter.secondary_opts)
                names |= {parameter.name, *(f[2:] for f in flags if f.startswith("--"))}
    assert {name.replace("-", "_") for name in names} == RESERVED_OPTIONS


def test_an_unknown_model() -> None:
    with pytest.raises(UserError, match="unknown model 'frcrn16k'; did you mean frcrn-16k"):
        find_model("frcrn16k")
