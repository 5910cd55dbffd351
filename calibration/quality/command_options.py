"""The options of `frcrn-export evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from frcrn_export.runtime.bundle.manifest import Precision

Command = TypeVar("Command", bound=Callable[..., Any])

MEASURES = ("si_sdr", "pesq", "stoi", "seg_snr")
# Options that say the least mean over all clips: the metric, and whether of its gain.
GATES = {
    "--min-pesq": ("pesq", False),
    "--min-si-sdr": ("si_sdr", False),
    "--min-stoi": ("stoi", False),
    "--min-pesq-gain": ("pesq", True),
    "--min-si-sdr-gain": ("si_sdr", True),
}


def _gate_option(option: str, metric: str, is_gain: bool) -> Callable[[Command], Command]:
    what = f"improvement of {metric}" if is_gain else metric
    help = f"Exit with 1 where a bundle's mean {what} is less."
    return click.option(option, type=float, metavar="X", help=help)


_OPTIONS = (
    click.argument(
        "bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
    ),
    click.option(
        "-p",
        "--pairs",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="A folder with NAME.noisy.* and NAME.clean.*.",
    ),
    click.option(
        "--noisy",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Instead of --pairs: noisy recordings.",
    ),
    click.option(
        "--clean",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="With --noisy: the clean speech, under the same names.",
    ),
    click.option(
        "-b",
        "--backend",
        "backends",
        multiple=True,
        default=("auto",),
        show_default=True,
        help="As for denoise; several are compared.",
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(get_args(Precision)),
        help="The bundle's files of this precision (by ONNX Runtime, if --backend says nothing "
        "else); several are compared. By default what denoise takes.",
    ),
    click.option("--stream", is_flag=True, help="What denoise --stream gives."),
    click.option("--windowed", is_flag=True, help="With --stream, overlapping windows."),
    click.option(
        "-m",
        "--metric",
        "metrics",
        multiple=True,
        type=click.Choice(MEASURES),
        help="Only this one; may be given several times.  [default: all]",
    ),
    click.option(
        "--dnsmos",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Also DNSMOS P.835, by the challenge's sig_bak_ovr.onnx.",
    ),
    *(_gate_option(option, *gate) for option, gate in GATES.items()),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(min=1),
        help="Processes that score; with 1 the speed is measured too.  [default: processors]",
    ),
    click.option(
        "-t",
        "--threads",
        type=click.IntRange(min=1),
        help="Threads of the network; all by default.",
    ),
    click.option("--clips", is_flag=True, help="Show every clip too."),
    click.option(
        "--csv", "csv_file", type=click.Path(path_type=Path), help="Every clip, to a file."
    ),
    click.option(
        "--markdown",
        "markdown_file",
        type=click.Path(path_type=Path),
        help="All tables, to a file.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the results as JSON."),
)


def evaluate_options(command: Command) -> Command:
    """Every argument and option of the command, shown in the order of this file."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
