"""The command that gives engines other weights: `refit`."""

from pathlib import Path

import click

from frcrn_export.runtime.commands.console import json_option, print_json, print_line, status
from frcrn_export.runtime.commands.inspect_tables import said_of_model
from frcrn_export.runtime.errors import BackendError, CheckFailed
from frcrn_export.runtime.text import quoted


@click.command(name="refit")
@click.argument("path", metavar="ENGINE|BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "-c",
    "--checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    help="The new weights, of the same network.",
)
@click.option("--state-dict", metavar="KEY", help="Which state dict of the checkpoint.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Another bundle to write.  [default: the bundle itself]",
)
@click.option("-f", "--force", is_flag=True, help="Replace a bundle at -o.")
@json_option
def refit(
    path: Path,
    checkpoint: Path,
    state_dict: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Give the engines of a bundle other weights, without a new build.

    For engines built with --refittable or --strip-weights. The bundle's ONNX files are exported
    anew from the checkpoint and verified; their graphs must equal those of the engines. An engine
    with its weights needs its GPU for that. Where a GPU is there, the engines are verified on it.
    """
    from frcrn_export.engines.refit import refit as refit_bundle
    from frcrn_export.runtime.gpu import first_gpu

    with status() as step:
        made = refit_bundle(
            path,
            checkpoint,
            output=output,
            state_dict=state_dict,
            force=force,
            progress=step,
        )
        engines = {e.path: e.engine for e in made.manifest.files if e.engine is not None}
        try:
            first_gpu()
        except BackendError:
            told, missed = {path: info.verification for path, info in engines.items()}, []
        else:
            from frcrn_export.exporters.verify import verify

            backends = sorted({info.backend for info in engines.values()})
            report = verify(made.path, backends=backends, checkpoint=checkpoint, progress=step)
            told = report.engines
            missed = [result for result in report.results if not result.passed]
    if as_json:
        print_json({"bundle": str(made.path), "engines": told})
    else:
        print_line(said_of_model(made.path, made.manifest))
        for name, said in told.items():
            print_line(f"{name}: {said}")
        backends = sorted({info.backend for info in engines.values()})
        for backend in backends:
            click.echo(f"On the GPU: frcrn-export verify {quoted(made.path)} --backend {backend}")
    if missed:
        worst = min(missed, key=lambda result: result.snr_db)
        raise CheckFailed(f"{worst.artifact}, {worst.case}: {worst.snr_db:.1f} dB after the refit")
