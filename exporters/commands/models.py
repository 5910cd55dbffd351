"""The command that lists the models."""

from dataclasses import asdict

import click
import msgspec

from frcrn_export.exporters.registry import DEFAULT_MODEL, MODELS
from frcrn_export.runtime.commands.console import json_option, print_json, print_table


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models and where their weights come from."""
    if as_json:
        print_json([msgspec.to_builtins(asdict(spec)) for spec in MODELS.values()])
        return
    print_table(
        ("Model", "What it is", "Weights"),
        (
            (
                spec.name + (" (default)" if spec.name == DEFAULT_MODEL else ""),
                spec.summary,
                spec.weights,
            )
            for spec in MODELS.values()
        ),
    )
