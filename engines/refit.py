"""A bundle with the weights of another checkpoint: exported anew, its engines refitted."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from frcrn_export.engines.ep_context import ep_context
from frcrn_export.engines.weight_map import require_refittable
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.layer_report import layer_report
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME, EngineInfo, FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import build_again
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_engine import load_engine
from frcrn_export.runtime.sessions.tensorrt_refit import refit_from_onnx
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    import onnx

    from frcrn_export.runtime.bundle.transaction import Transaction

Step = Callable[[str], None]


def refit(
    path: Path,
    checkpoint: Path,
    *,
    output: Path | None = None,
    state_dict: str | None = None,
    force: bool = False,
    progress: Step = lambda step: None,
) -> Bundle:
    """Give the engines of a bundle the weights of a checkpoint, without a new build.

    The bundle's ONNX files are exported anew from the checkpoint, by the same way and with the same
    options, and verified; each engine keeps its kernels. An engine with its weights needs the GPU
    that it is for; of one without (`--strip-weights`) the plan stays as it is. The bundle is
    replaced in one transaction.

    Args:
        path: A bundle, or one engine in it.
        checkpoint: The new weights, of the same network.
        output: Another bundle to write; the bundle itself by default.
        state_dict: Which state dict of the checkpoint, where it holds several.
        force: Replace a bundle at `output`.
        progress: Called with what is done next, in words.

    Returns:
        The new bundle, opened. Its engines have not been verified.

    Raises:
        UserError: No engine that can be refitted, files that cannot be made again from a
            checkpoint, a network with another graph.
        BackendError: The engine cannot be opened here, or refuses the weights.
        CheckFailed: A file exported anew misses parity.
    """
    from frcrn_export.exporters.bundle import export_again
    from frcrn_export.exporters.loading import load_other_weights

    is_engine = path.is_file() or path.suffix == ".engine"
    root = path.parent if is_engine else path
    bundle = open_bundle(root)
    engines = _chosen(bundle, path.name if is_engine else None)
    _require_whole(bundle, engines, checkpoint, output)
    model = load_other_weights(bundle.manifest, checkpoint, state_dict)

    def add_engines(made: Bundle, work: "Transaction") -> None:
        for entry in engines:
            progress(f"refitting {entry.path}")
            for content, described in _refitted(bundle, entry, made, checkpoint):
                work.write(content, described)

    return export_again(
        bundle.manifest,
        model,
        output or root,
        further=add_engines,
        force=force or output is None,
        progress=progress,
    )


def _chosen(bundle: Bundle, name: str | None) -> list[FileEntry]:
    """The engines to refit. Raises UserError where there is none."""
    engines = [entry for entry in bundle.manifest.files if entry.engine is not None]
    named = [entry for entry in engines if name in (None, entry.path)]
    if not named:
        raise UserError(
            f"{bundle.path}: no engine {name or ''} in this bundle; build one that can be "
            f"refitted, on a machine with the GPU: frcrn-export trt {quoted(bundle.path)} --fp16 "
            "--gpu auto --refittable"
        )
    found = [entry for entry in named if entry.engine is not None and entry.engine.refittable]
    if not found:
        again = build_again(bundle.path, named[0]).removesuffix(" --force")
        raise UserError(
            f"{bundle.path / named[0].path}: was built without --refittable; "
            f"on a machine with the GPU, run: {again} --refittable --force"
        )
    return found


def _require_whole(
    bundle: Bundle, engines: list[FileEntry], checkpoint: Path, output: Path | None
) -> None:
    """Raise UserError where the bundle itself would lose files that no export makes again."""
    lost = [
        entry.path
        for entry in bundle.manifest.files
        if entry not in engines and (entry.engine is not None or entry.quantization is not None)
    ]
    if output is None and lost:
        raise UserError(
            f"{bundle.path}: the new weights would leave {', '.join(lost)} behind, which have to "
            f"be built or calibrated again; write another bundle: frcrn-export refit "
            f"{quoted(bundle.path)} --checkpoint {quoted(checkpoint)} -o NEW_BUNDLE"
        )
    if output is not None and (output / MANIFEST_NAME).is_file() and output == bundle.path:
        raise UserError(f"-o {output}: the bundle itself; leave out -o")


def _refitted(
    bundle: Bundle, entry: FileEntry, made: Bundle, checkpoint: Path
) -> list[tuple[bytes, FileEntry]]:
    """The engine with the weights of the bundle `made`, and the files that it names."""
    info = entry.engine
    assert info is not None
    source = next(file for file in made.manifest.files if file.path == info.source)
    model = made.file(source).read_bytes()
    report = layer_report(bundle, entry)
    before = next(file for file in bundle.manifest.files if file.path == info.source)
    require_refittable(
        *(_parsed(bundle.file(before)), _parsed(made.file(source))),
        report.weights,
        engine=str(bundle.path / entry.path),
        remedy="build an engine instead, on a machine with the GPU, run: "
        f"{_build(bundle.manifest, entry, checkpoint)}",
    )
    if info.stripped:
        plan, how = bundle.file(entry).read_bytes(), "when it is opened"
    else:
        engine = load_engine(bundle, entry)
        refit_from_onnx(engine.plan, engine.logger, info.backend, model, engine.failure)
        plan, how = bytes(engine.plan.serialize()), "in place"  # type: ignore[call-overload]
    described = msgspec.structs.replace(
        file_entry(
            plan, entry.path, entry.role, "engine", entry.precision, source.inputs, source.outputs
        ),
        engine=_described(info, source, made.manifest, how),
        streaming=source.streaming,
    )
    layers = report.to_json()
    listed = file_entry(layers, info.layers, "layers", "json", entry.precision)
    files = [(plan, described), (layers, listed)]
    if info.context is not None:
        files.append(ep_context(described))
    return files


def _build(manifest: Manifest, entry: FileEntry, checkpoint: Path) -> str:
    """The command that builds such an engine of a checkpoint, in a new bundle."""
    words = (*manifest.options, *(manifest.streaming_options or ()) * (entry.streaming is not None))
    command = build_again(Path("NEW_BUNDLE"), entry).removesuffix(" --force")
    options = [f"--model {quoted(manifest.model)}", *map(quoted, words)]
    return " ".join([command, *options, f"--checkpoint {quoted(checkpoint)}"])


def _parsed(path: Path) -> "onnx.ModelProto":
    import onnx

    return onnx.load(path)


def _described(info: EngineInfo, source: FileEntry, manifest: Manifest, how: str) -> EngineInfo:
    return msgspec.structs.replace(
        info,
        source_sha256=source.sha256,
        verified_on=None,
        verification=(
            f"Built by {info.backend} {info.version} with other weights, and refitted {how} with "
            f"those of {manifest.weights.name}. Since then it has not been run: neither its output "
            "nor its speed is checked on a GPU."
        ),
    )
