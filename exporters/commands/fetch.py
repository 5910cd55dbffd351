"""`frcrn-export fetch`."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from frcrn_export.exporters import weights as fetching
from frcrn_export.runtime.cache import CACHE_VARIABLE


@click.command()
@click.argument("model")
@click.option("--url", help="Another URL of the same file.")
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder to keep it in, instead of the user's cache or {CACHE_VARIABLE}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def fetch(model: str, url: str | None, cache_dir: Path | None, as_json: bool) -> None:
    """Download the published weights of MODEL (see: frcrn-export models) and print their path.

    Checks the file by size and sha256, and keeps it in a cache, where the other commands find it.
    An interrupted download resumes.
    """
    columns = (TextColumn(model), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(model, total=None)
        path = fetching.fetch(
            model, url, cache_dir, lambda done, total: bar.update(task, completed=done, total=total)
        )
    remote = fetching.remote_file(model)
    report = {"model": model, "path": str(path), "bytes": remote.size, "sha256": remote.sha256}
    click.echo(json.dumps(report) if as_json else path)
