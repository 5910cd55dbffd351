"""The command that lists the models."""

from dataclasses import asdict
from typing import Any

import click
import msgspec

from frcrn_export.exporters.family import ModelSpec
from frcrn_export.exporters.registry import models as all_models
from frcrn_export.runtime.commands.console import json_option, print_json, print_table


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models and the sources of their weights."""
    if as_json:
        print_json([_facts(spec) for spec in all_models().values()])
        return
    print_table(
        ("Model", "What it is", "Weights"),
        (
            (
                spec.name + (" (default)" if spec.is_default else ""),
                spec.summary,
                spec.weights,
            )
            for spec in all_models().values()
        ),
    )


def _facts(spec: ModelSpec) -> dict[str, Any]:
    """A model as JSON: its specification, and the origin of its weights."""
    facts = asdict(spec)
    facts["stft"] = msgspec.to_builtins(spec.stft)
    facts["packaged"] = str(spec.packaged) if spec.packaged else None
    return {**facts, "weights": spec.weights}
