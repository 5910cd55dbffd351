"""`frcrn-export inspect`: what a bundle or a checkpoint holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.remedies import export_to
from frcrn_export.runtime.commands.console import json_option, print_json, print_line, print_table
from frcrn_export.runtime.commands.inspect import inspect_bundle
from frcrn_export.runtime.errors import CheckpointError, UserError
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    from frcrn_export.exporters.checkpoint_file import Checkpoint
    from frcrn_export.exporters.family import Option, Settings
    from frcrn_export.runtime.bundle.manifest import Assumption

_SHOWN = 5


def _print_schema(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from frcrn_export.runtime.bundle.schema import manifest_schema

        click.echo(manifest_schema(), nl=False)
        context.exit()


@click.command()
@click.argument("path", metavar="BUNDLE|CHECKPOINT", type=click.Path(path_type=Path))
@click.option("--state-dict", metavar="KEY", help="Which state dict of a checkpoint.")
@click.option(
    "--layers",
    is_flag=True,
    help="Of engines: layers outside their precision, conversions, channels that miss the tensor "
    "cores.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OTHER",
    help="Compare engines: of two bundles, two engine files, or two layer reports.",
)
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of manifest.json, and exit.",
)
@json_option
def inspect(
    path: Path, state_dict: str | None, layers: bool, against: Path | None, as_json: bool
) -> None:
    """Show what a bundle or a checkpoint holds.

    For a BUNDLE: tensors, operators, cost, hashes and engines. For a CHECKPOINT: its state dicts,
    the recognised model, every setting with its origin, and the assumptions of an export. With
    --against the differences of two engines.
    """
    if against is not None:
        from frcrn_export.runtime.commands.inspect_engines import compare

        if layers or state_dict is not None:
            raise click.UsageError("--against goes with neither --layers nor --state-dict")
        for each in (path, against):
            if not each.exists():
                raise UserError(f"{each}: no such bundle, engine or layer report; check the name")
        compare(path, against, as_json)
        return
    if not path.exists():
        raise UserError(f"{path}: no such bundle or checkpoint; make a bundle: {export_to(path)}")
    if path.is_file() and path.name != MANIFEST_NAME:
        if layers:
            raise click.UsageError("--layers is for bundles; leave it out")
        _inspect_checkpoint(path, state_dict, as_json)
        return
    if state_dict is not None:
        raise click.UsageError("--state-dict is for checkpoints; leave it out")
    inspect_bundle(path.parent if path.name == MANIFEST_NAME else path, as_json, layers)


def _inspect_checkpoint(path: Path, key: str | None, as_json: bool) -> None:
    from frcrn_export.exporters.recognition import load_checkpoint

    try:
        checkpoint = load_checkpoint(path, key)
    except CheckpointError as error:
        if path.with_name(MANIFEST_NAME).is_file():
            raise UserError(
                f"{path}: not a checkpoint, but beside the manifest of a bundle; "
                f"run: frcrn-export inspect {quoted(path.parent)}"
            ) from error
        raise
    settings, assumptions = _settings(checkpoint)
    refused = _refusal(checkpoint, settings, assumptions)
    if refused is not None:
        settings, assumptions = {}, ()
    if as_json:
        print_json(_facts(checkpoint, settings, assumptions, refused))
    else:
        _print(checkpoint, settings, assumptions)
    if refused is not None:
        raise refused


def _print(
    checkpoint: "Checkpoint", settings: "Settings", assumptions: "tuple[Assumption, ...]"
) -> None:
    from frcrn_export.exporters.family import setting_text

    parameters = sum(tensor.numel() for tensor in checkpoint.state.values())
    rows = [
        ("recognised as", checkpoint.model or "no network known here"),
        ("sha256", checkpoint.sha256),
        ("state dict", checkpoint.key or "the file itself"),
        ("other state dicts", ", ".join(checkpoint.others) or "none"),
        ("prefix", checkpoint.prefix or "none"),
        ("tensors", f"{len(checkpoint.state)}, {parameters / 1e6:.2f} million values"),
        ("dtypes", ", ".join(_dtypes(checkpoint))),
        ("ignored, beside the network", _listed(checkpoint.ignored)),
    ]
    print_table(("What", "Value"), rows, title=str(checkpoint.path))
    if settings:
        assumed = {one.setting: one.reason for one in assumptions}
        print_table(
            ("Setting", "Value", "From"),
            (
                (name, setting_text(value), _source(name, checkpoint, assumed))
                for name, value in settings.items()
            ),
        )
    for one in assumptions:
        print_line(f"assumed: {one.setting} {one.value} ({one.reason})")


def _settings(checkpoint: "Checkpoint") -> "tuple[Settings, tuple[Assumption, ...]]":
    """The value of each setting in an export; none for an unknown network."""
    from frcrn_export.exporters.registry import family_of, find_model
    from frcrn_export.exporters.resolved_settings import settings_of_checkpoint

    if checkpoint.model is None:
        return {}, ()
    spec = find_model(checkpoint.model)
    return settings_of_checkpoint(family_of(spec), spec, checkpoint, {})


def _refusal(
    checkpoint: "Checkpoint", settings: "Settings", assumptions: "tuple[Assumption, ...]"
) -> CheckpointError | None:
    """Why an export refuses the weights; None where it does not, or no network is known."""
    from frcrn_export.exporters.loading import require_loadable
    from frcrn_export.exporters.registry import family_of, find_model

    if checkpoint.model is None:
        return None
    spec = find_model(checkpoint.model)
    try:
        require_loadable(family_of(spec), spec, checkpoint, settings, assumptions)
    except CheckpointError as error:
        return error
    return None


def _facts(
    checkpoint: "Checkpoint",
    settings: "Settings",
    assumptions: "tuple[Assumption, ...]",
    refused: CheckpointError | None,
) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint.path),
        "sha256": checkpoint.sha256,
        "model": checkpoint.model,
        "state_dict": checkpoint.key,
        "other_state_dicts": list(checkpoint.others),
        "prefix": checkpoint.prefix,
        "tensors": {name: list(tensor.shape) for name, tensor in checkpoint.state.items()},
        "dtypes": _dtypes(checkpoint),
        "ignored": list(checkpoint.ignored),
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()},
        "assumptions": msgspec.to_builtins(assumptions),
        "refused": None if refused is None else str(refused),
    }


def _dtypes(checkpoint: "Checkpoint") -> list[str]:
    return sorted({str(t.dtype).removeprefix("torch.") for t in checkpoint.state.values()})


def _source(name: str, checkpoint: "Checkpoint", assumed: dict[str, str]) -> str:
    """The origin of a setting."""
    if name in assumed:
        return "assumed"
    option = _option(name, checkpoint)
    found = checkpoint.configuration.find((name, *option.aliases)) if option else []
    return found[0].where if found else "the tensors"


def _option(name: str, checkpoint: "Checkpoint") -> "Option | None":
    """The option of a setting; None where the tensors show it."""
    from frcrn_export.exporters.registry import family_of, find_model

    options = family_of(find_model(str(checkpoint.model))).options
    return next((option for option in options if option.name == name), None)


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)}: {', '.join(names[:_SHOWN])}{more}"
