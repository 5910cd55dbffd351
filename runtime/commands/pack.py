"""`frcrn-export pack`: the part of a bundle that one target needs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from frcrn_export.runtime.bundle.manifest import QUANTIZED, SUMS_NAME
from frcrn_export.runtime.commands.console import (
    json_option,
    precision_option,
    print_json,
    print_line,
    print_table,
    status,
)
from frcrn_export.runtime.text import counted, quoted

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import Precision
    from frcrn_export.runtime.pack.pack import Pack


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--target",
    required=True,
    metavar="TARGET",
    help="cpu, arm64, or the engines of a backend for a compute capability: tensorrt:sm86, "
    "tensorrt-rtx:sm89.",
)
@click.option("--offline", is_flag=True, help="What whole recordings need.")
@click.option(
    "--streaming",
    is_flag=True,
    help="What streams need.  [default: both, as far as the bundle has them]",
)
@precision_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="An archive (NAME.tar, NAME.tar.gz, NAME.zip), or a folder.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an archive, or a bundle in the folder.")
@json_option
def pack(
    bundle: Path,
    target: str,
    offline: bool,
    streaming: bool,
    precision: "Precision | None",
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Pack the part of a BUNDLE that one target needs.

    Its cores, the parity vectors that verify them there, the licence of the weights, and a
    SHA256SUMS to sign; the manifest lists these files alone. The same bundle gives the same bytes.
    """
    from frcrn_export.runtime.pack.pack import pack as write

    with status() as step:
        step("packing")
        packed = write(
            bundle,
            target,
            output,
            offline=offline,
            streaming=streaming,
            precision=precision,
            force=force,
        )
    if as_json:
        print_json(_facts(packed, target))
        return
    _print_files(packed, target)
    for line in (*_verified(packed, target), *_next_steps(packed)):
        print_line(line)


def _print_files(packed: "Pack", target: str) -> None:
    rows = [(file.path, file.role, f"{file.bytes:,}") for file in packed.files]
    rows += [("all of these", "", f"{packed.bytes:,}")]
    rows += [("the whole bundle", "", f"{packed.bundle_bytes:,}")]
    title = f"{packed.output}: {packed.manifest.model} for {target}"
    print_table(("File", "Role", ">Bytes"), rows, title=title)


def _verified(packed: "Pack", target: str) -> list[str]:
    """What is known of the files, in sentences."""
    manifest = packed.manifest
    said = [f"{e.path}: {e.engine.verification}" for e in manifest.files if e.engine is not None]
    for entry in manifest.files:
        gates = entry.quantization.gates if entry.quantization is not None else ()
        if passed := [gate.name for gate in gates if gate.passed]:
            said.append(f"{entry.path}: passed its gates where it was made: {', '.join(passed)}.")
    files = {entry.path for entry in manifest.files}
    results = [each for each in manifest.parity if each.artifact.split(" ")[0] in files]
    if results:
        worst = min(results, key=lambda result: result.snr_db - result.floor_db)
        said.append(
            "Parity with the PyTorch reference, where the files were made: of "
            f"{counted(len(results), 'comparison')} {worst.artifact}, {worst.case} is the closest "
            f"to its floor: {worst.snr_db:.1f} dB, at least {worst.floor_db:g}."
        )
    if target == "arm64":
        said.append(
            "arm64 takes the same files as cpu. None of this ran on ARM: verify them there, with "
            "the ONNX Runtime that will run them."
        )
    if manifest.has_random_weights:
        said.append("Random weights: for dry runs only, the output is not speech.")
    return said


def _next_steps(packed: "Pack") -> list[str]:
    """The commands for the machine that the pack goes to."""
    return [f"{purpose}: {command}" for purpose, command in _commands(packed).items()]


def _commands(packed: "Pack") -> dict[str, str]:
    """What to run where the pack goes, by purpose."""
    folder = quoted(packed.folder)
    commands = {}
    if packed.suffix is not None:
        unpack = "unzip" if packed.suffix == ".zip" else "tar -xf"
        commands["Unpack"] = f"{unpack} {quoted(packed.output.name)}"
    commands["Check the files"] = f"(cd {folder} && sha256sum -c {SUMS_NAME})"
    commands["Verify"] = f"frcrn-export verify {folder}"
    run = ("core", "pipeline", "core_streaming")
    cores = {entry.role: entry.precision for entry in packed.manifest.files if entry.role in run}
    quantized = QUANTIZED.intersection(cores.values())
    precision = f" --precision {min(quantized)}" if quantized else ""
    if cores.keys() & {"core", "pipeline"}:
        commands["Denoise"] = f"frcrn-export denoise {folder} noisy.wav -o clean.wav{precision}"
    if "core_streaming" in cores:
        commands["Stream"] = f"frcrn-export stream {folder}{precision} < noisy.wav > clean.wav"
    return commands


def _facts(packed: "Pack", target: str) -> dict[str, Any]:
    return {
        "target": target,
        "output": str(packed.output),
        "folder": str(packed.folder),
        "files": [asdict(file) for file in packed.files],
        "bytes": packed.bytes,
        "bundle_bytes": packed.bundle_bytes,
        "verified": _verified(packed, target),
        "commands": _commands(packed),
    }
