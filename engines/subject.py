"""What an engine is built from: a bundle that is there, or a model that becomes one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle import Bundle, open_bundle
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.manifest import MANIFEST_NAME, Manifest, Precision, TensorSpec

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel

Step = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """The bundle to build in. `bundle` is None until it exists, `model` where it was not needed."""

    path: Path
    manifest: Manifest
    input: TensorSpec
    bundle: Bundle | None
    model: "LoadedModel | None"
    checkpoint: Path | None

    def prepare(self, precision: Precision, step: Step) -> Bundle:
        """The bundle with an ONNX core of this precision, exported and proven if need be.

        Raises UserError where that takes weights that are not at hand, CheckFailed where it misses
        parity.
        """
        from frcrn_export.exporters.bundling import add_half_core, export_onnx_bundle

        half = precision == "fp16"
        if self.bundle is None:
            assert self.model is not None
            return export_onnx_bundle(self.model, self.path, half=half, progress=step)
        if not half or self.manifest.file("core", "onnx", "fp16"):
            return self.bundle
        return add_half_core(self.model or self._live(), self.path, progress=step)

    def _live(self) -> "LoadedModel":
        """The model of the bundle with the weights that it was made from."""
        from frcrn_export.exporters.parity_report import require_same_checkpoint, why_not_live

        if self.checkpoint is not None:
            require_same_checkpoint(self.manifest, self.checkpoint)
        if why := why_not_live(self.manifest, self.checkpoint):
            raise UserError(f"{self.path} has no core.fp16.onnx to build from, and {why}")
        from frcrn_export.exporters.loading import load_bundled

        return load_bundled(self.manifest, self.checkpoint)


def find_subject(
    path: Path | None,
    model: str | None,
    checkpoint: Path | None,
    seed: int | None,
    load: Callable[[], "LoadedModel"],
) -> Subject:
    """The bundle at `path`, else the model that `load` gives, under its own name by default.

    Raises UserError where the bundle there is of another model or of other weights.
    """
    if path is not None and (path / MANIFEST_NAME).is_file():
        bundle = open_bundle(path)
        if model is not None and model != bundle.manifest.model:
            raise UserError(f"{path} holds {bundle.manifest.model}, not {model}; leave out --model")
        if seed is not None and seed != bundle.manifest.weights.seed:
            raise UserError(
                f"{path} holds {bundle.manifest.weights.name}, not random weights of seed {seed}; "
                "leave out --random-weights"
            )
        return _existing(bundle, None, checkpoint)
    if path is not None and path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        raise UserError(f"{path} exists and is no bundle; choose another path")
    loaded = load()
    path = path or Path(loaded.spec.name)
    if (path / MANIFEST_NAME).is_file():
        from frcrn_export.exporters.bundling import require_same_weights

        bundle = open_bundle(path)
        require_same_weights(bundle.manifest, loaded, path)
        return _existing(bundle, loaded, checkpoint)
    from frcrn_export.exporters.artifacts import core_graph
    from frcrn_export.exporters.bundling import manifest_of

    return Subject(
        path, manifest_of(loaded, ()), core_graph(loaded).input, None, loaded, checkpoint
    )


def _existing(bundle: Bundle, model: "LoadedModel | None", checkpoint: Path | None) -> Subject:
    core = bundle.manifest.file("core", "onnx") or bundle.manifest.file("core", "onnx", "fp16")
    if core is None:
        raise UserError(
            f"{bundle.path}: no ONNX core in this bundle to build an engine from; run: "
            f"frcrn-export trt --model {bundle.manifest.model} -o ANOTHER"
        )
    return Subject(bundle.path, bundle.manifest, core.inputs[0], bundle, model, checkpoint)
