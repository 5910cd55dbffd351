"""Float16 files in the output of commands: their floor, and what missed it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
import msgspec

from frcrn_export.exporters.commands.options import print_parity
from frcrn_export.runtime.commands.console import FiniteRange, print_json, print_table
from frcrn_export.runtime.errors import CheckFailed

floor_option = click.option(
    "--fp16-floor",
    type=FiniteRange(10, 90),
    metavar="DB",
    help="The least SNR of a float16 core in dB; layers stay in float32 where it misses it. "
    "[default: 45]",
)


@contextmanager
def showing_misses(as_json: bool) -> Iterator[None]:
    """Show what a float16 file missed, and its layers by what they lose; the error goes on."""
    try:
        yield
    except CheckFailed as error:
        from frcrn_export.exporters.float16.fit import Float16Missed  # needs torch

        if not isinstance(error, Float16Missed):
            raise
        missed = tuple(result for result in error.results if not result.passed)
        layers = sorted(error.sensitivities, key=lambda each: each.snr_db)
        if as_json:
            print_json(
                {"missed": msgspec.to_builtins(missed), "layers": [asdict(each) for each in layers]}
            )
        else:
            print_parity(missed)
            print_table(
                ("Layer alone in float16", ">SNR dB of the output"),
                ((each.name, f"{each.snr_db:.1f}") for each in layers),
                title="Layers, the most sensitive first",
            )
        raise
