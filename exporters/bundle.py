"""Exporting: write the files of a bundle, verify them, and only then commit them."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

from frcrn_export.exporters.artifacts import (
    FP16_CORE,
    FP16_STREAMING_CORE,
    INLINE,
    PARITY,
    TORCHSCRIPT,
    Artifact,
    onnx_artifacts,
)
from frcrn_export.exporters.family import (
    Family,
    Settings,
    Variant,
    option_words,
    setting_text,
    settings_of,
)
from frcrn_export.exporters.float16.fit import Fitted, fit_float16
from frcrn_export.exporters.graph_metadata import with_metadata
from frcrn_export.exporters.graphs import StaticShape, check_static
from frcrn_export.exporters.input_limits import with_input_limits
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_versions import OpsetTooLow, check_opset
from frcrn_export.exporters.reference_parity import check_reference
from frcrn_export.exporters.streaming_export import (
    StreamingForms,
    StreamingOptions,
    bundled_options,
)
from frcrn_export.exporters.verify import require_parity
from frcrn_export.runtime.bundle.entries import same_weights
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Float16Floor,
    Manifest,
    ParityResult,
)
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import streaming_hint
from frcrn_export.runtime.bundle.transaction import Transaction, require_free, transaction
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.verify.parity import FLOOR_DB, check_bundle, is_loud, read_cases

logger = logging.getLogger(__name__)

StftPlacement = Literal["split", "inline"]
Progress = Callable[[str], None]
# Adds files to the transaction of a bundle that was exported and compared.
Further = Callable[[Bundle, Transaction], None]

_TOOLS = ("frcrn-export", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy")
INLINE_SECONDS = 120


def export_onnx(
    model: LoadedModel,
    destination: Path | str,
    *,
    stft: StftPlacement = "split",
    fp16: bool = False,
    fp16_floor: float | None = None,
    streaming: StreamingOptions | None = None,
    opset: int | None = None,
    static: StaticShape | None = None,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Export a model into a bundle of ONNX files; it is kept only if every comparison passes.

    Example:
        >>> bundle = frcrn_export.export_onnx(frcrn_export.load_model(), "new")
        >>> [file.path for file in bundle.manifest.files if file.role == "core"]
        ['core.onnx']

    Args:
        model: The network with its weights.
        destination: The folder of the bundle: a new or empty one, or with `force` a bundle to
            replace.
        stft: `split`: `core.onnx`, for spectral networks `pre.onnx` and `post.onnx` beside it, and
            the family's further cores. `inline`: one `denoiser.onnx` from raw waveform to waveform.
        fp16: Also `core.fp16.onnx`, and with `streaming` `core.streaming.fp16.onnx`: float16
            inside, float32 in and out. TensorRT engines are built from them. The layers that
            lose the most stay in float32 where a file would miss its floor.
        fp16_floor: The least SNR of these files against the reference in dB, 10 to 90; None is 45.
        streaming: Also `core.streaming.onnx`, with this chunk and look-ahead (in frames).
        opset: The opset of the ONNX files, 11 to 18; None is the lowest that each of them needs.
        static: Also `core.static.onnx`, for inputs of this shape alone; NPU toolchains take it.
        force: Replace an existing bundle.
        progress: Called with what is done next, in words.

    Returns:
        The bundle, opened.

    Raises:
        CheckFailed: A file misses parity; nothing is written.
        UserError: The path is taken, the disk is full, the network has no such form or needs a
            later opset, or a floor is out of bounds.
    """
    rows = onnx_artifacts(
        model,
        inline=stft == "inline",
        fp16=fp16,
        streaming=streaming is not None,
        static=static is not None,
    )
    if static is not None:
        check_static(model, static)
    check_opset(opset)
    rows = tuple(replace(row, opset=opset) for row in rows)
    forms = StreamingForms(model, streaming, static)
    return _export(forms, Path(destination), rows, force, progress, _floor(fp16_floor))


def export_torchscript(
    model: LoadedModel,
    destination: Path | str,
    *,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Export a model as `core.pt`, into a new bundle or one with the same weights.

    Example:
        >>> model = frcrn_export.load_model()
        >>> bundle = frcrn_export.export_torchscript(model, "wave")
        >>> bundle.manifest.file("core", "torchscript").path
        'core.pt'

    Args:
        model: The network with its weights.
        destination: The folder of the bundle.
        force: Replace an existing `core.pt`.
        progress: Called with what is done next, in words.

    Returns:
        The bundle, opened.

    Raises:
        CheckFailed: `core.pt` misses parity; an existing bundle is unchanged.
        UserError: An existing bundle has another model or other weights, the path is taken, or the
            disk is full.
    """
    forms = StreamingForms(model)
    destination = Path(destination)
    if (destination / MANIFEST_NAME).is_file():
        return _add(forms, open_bundle(destination), TORCHSCRIPT, force, progress)
    return _export(forms, destination, (TORCHSCRIPT,), force, progress)


def add_fp16_core(
    model: LoadedModel,
    destination: Path | Bundle,
    *,
    fp16_floor: float | None = None,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Add `core.fp16.onnx` to a bundle of the same weights. Raises as the functions above."""
    floor = _floor(fp16_floor)
    return _add(StreamingForms(model), _opened(destination), FP16_CORE, force, progress, floor)


def add_fp16_streaming_core(
    model: LoadedModel,
    destination: Path | Bundle,
    *,
    fp16_floor: float | None = None,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Add `core.streaming.fp16.onnx` to a bundle that has `core.streaming.onnx`.

    Raises as the functions above.
    """
    bundle = _opened(destination)
    options = bundled_options(bundle.manifest)
    if options is None:
        hint = streaming_hint(bundle.manifest, "onnx --fp16")
        raise UserError(f"{bundle.path}: no streaming core in this bundle; {hint}")
    forms = StreamingForms(model, options)
    return _add(forms, bundle, FP16_STREAMING_CORE, force, progress, _floor(fp16_floor))


def _floor(fp16_floor: float | None) -> float | None:
    """The floor for a manifest. Raises UserError for one that is out of bounds."""
    if fp16_floor is None or fp16_floor == FLOOR_DB["fp16"]:
        return None
    try:
        return msgspec.convert(fp16_floor, Float16Floor)
    except msgspec.ValidationError as error:
        raise UserError(f"fp16_floor={fp16_floor}: takes 10 to 90 dB") from error


def export_again(
    present: Manifest,
    model: LoadedModel,
    destination: Path,
    *,
    further: Further,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Export a model with other weights into the kinds of files that a bundle has.

    `further` adds what no export makes, to the exported bundle's transaction. Calibrated files are
    left out. Raises as `export_onnx`, and UserError where the network is not the bundle's.
    """
    if (present.model, present.variant) != (model.spec.name, model.variant):
        raise UserError(
            f"{model.weights.name} is {model.spec.name} with "
            f"{_differing(model.variant, present.variant) or 'the same settings'}, the bundle is "
            f"{present.model}; give a checkpoint of that network"
        )
    static = present.file("core_static", "onnx")
    shape = None
    if static is not None:
        shape = StaticShape(*(int(static.inputs[0].shape[axis]) for axis in (0, -1)))
    rows = onnx_artifacts(
        model,
        inline=present.file("pipeline", "onnx") is not None,
        fp16=any(f.format == "onnx" and f.precision == "fp16" for f in present.files),
        streaming=present.file("core_streaming", "onnx") is not None,
        static=static is not None,
    )
    opsets = {entry.path: entry.opset for entry in present.files}
    rows = tuple(replace(row, opset=opsets.get(row.path)) for row in rows)
    rows += (TORCHSCRIPT,) * (present.file("core", "torchscript") is not None)
    forms = StreamingForms(model, bundled_options(present), shape)
    halves = (f for f in present.files if f.format == "onnx" and f.precision == "fp16")
    floor = next((entry.floor_db for entry in halves), None)
    return _export(forms, destination, rows, force, progress, floor, further)


def _opened(bundle: Path | Bundle) -> Bundle:
    """The bundle, opened unless it is already: reading hashes every file."""
    return bundle if isinstance(bundle, Bundle) else open_bundle(bundle)


def _export(
    forms: StreamingForms,
    destination: Path,
    rows: tuple[Artifact, ...],
    force: bool,
    progress: Progress,
    fp16_floor: float | None = None,
    further: Further = lambda made, work: None,
) -> Bundle:
    """Make a bundle of these artifacts, the parity vectors, and what `further` adds."""
    require_free(destination, force=force)
    if forms.options is not None:
        forms.core()  # fails before any export where the network cannot stream
    too_low: list[OpsetTooLow] = []
    with transaction(destination) as work:
        for row in (*rows, PARITY):
            try:
                _write(work, row, forms, fp16_floor, progress)
            except OpsetTooLow as error:  # of the others one may need a still later one
                too_low.append(error)
        if too_low:
            raise max(too_low, key=lambda error: error.lowest)
        manifest = manifest_of(forms.model, work.files)
        if any(row.role == INLINE.role for row in rows):
            manifest = _without_windows(manifest)
        results = _Comparison(work, forms, manifest, rows, progress).results()
        manifest = msgspec.structs.replace(manifest, files=work.files)
        further(work.preview(manifest), work)
        whole = msgspec.structs.replace(manifest, files=work.files)
        return work.create(whole.with_parity(results), force=force)


def _add(
    forms: StreamingForms,
    present: Bundle,
    row: Artifact,
    force: bool,
    progress: Progress,
    fp16_floor: float | None = None,
) -> Bundle:
    """Add one artifact to a bundle; other files keep their results."""
    require_same_weights(present.manifest, forms.model, present.path)
    others = tuple(entry for entry in present.manifest.files if entry.path != row.path)
    if len(others) < len(present.manifest.files) and not force:
        raise UserError(f"{present.path / row.path} exists; add --force to replace it")
    with transaction(present.path) as work:
        _write(work, row, forms, fp16_floor, progress)
        results = _Comparison(work, forms, present.manifest, (row,), progress, others).results()
        # A streaming core has the options of the float32 one beside it.
        needs = [e for e in others if e.role == row.role == "core_streaming" and not e.engine]
        return work.add(present.manifest, results, needs=needs, force=force)


def _write(
    work: Transaction,
    row: Artifact,
    forms: StreamingForms,
    fp16_floor: float | None,
    progress: Progress,
) -> None:
    progress(f"exporting {row.path}")
    logger.info("exporting %s", row.path)
    content, entry = row.make(forms)
    if entry.precision == "fp16":
        entry = msgspec.structs.replace(entry, floor_db=fp16_floor)
    if entry.format == "onnx":
        content, entry = with_metadata(content, manifest_of(forms.model, ()), entry)
    work.write(content, entry)


@dataclass(frozen=True)
class _Comparison:
    """Comparing the files of a transaction with the reference.

    `others` are the files that the bundle has already; they are not compared again.
    """

    work: Transaction
    forms: StreamingForms
    manifest: Manifest
    rows: tuple[Artifact, ...]
    progress: Progress
    others: tuple[FileEntry, ...] = ()

    def results(self) -> tuple[ParityResult, ...]:
        """All comparisons; float16 files get layers in float32 where they need some.

        Raises CheckFailed for a miss.
        """
        self.progress("comparing with the reference")
        bundle = self._bundle(self.work.files)
        for limited in with_input_limits(bundle):
            content = bundle.file(limited).read_bytes()
            self.work.write(*with_metadata(content, self.manifest, limited))
        results = tuple(self._compare(self.work.files))
        half = {row.path: row for row in self.rows if row.precision == "fp16"}
        require_parity(tuple(r for r in results if r.artifact not in half))
        for path, row in half.items():
            own = tuple(result for result in results if result.artifact == path)
            fitted = self._fitted(row, own)
            results = (*(result for result in results if result not in own), *fitted.results)
            self.work.write(fitted.content, fitted.entry)
        require_parity(results)
        return results

    def _fitted(self, row: Artifact, own: tuple[ParityResult, ...]) -> Fitted:
        bundle = self._bundle(self.work.files)
        entry = next(entry for entry in self.work.files if entry.path == row.path)
        made = Fitted(bundle.file(entry).read_bytes(), entry, own)

        def parity(content: bytes, tried: FileEntry) -> Iterator[ParityResult]:
            self.work.write(content, tried)
            return self._compare((tried,))

        cases = [case for case in read_cases(bundle) if not is_loud(case)]
        return fit_float16(row, made, self.forms, cases, parity, self.progress)

    def _bundle(self, files: tuple[FileEntry, ...]) -> Bundle:
        """The bundle as it would be with these files and the parity vectors alone."""
        vectors = (e for e in (*self.work.files, *self.others) if e.role == "parity")
        files = tuple({entry.path: entry for entry in (*files, *vectors)}.values())
        # This process wrote it, so TorchScript may be opened.
        bundle = self.work.preview(msgspec.structs.replace(self.manifest, files=files))
        return replace(bundle, trusted=True)

    def _compare(self, files: tuple[FileEntry, ...]) -> Iterator[ParityResult]:
        bundle = self._bundle(files)
        there = msgspec.structs.replace(self.manifest, files=(*self.others, *self.work.files))
        yield from check_bundle(bundle)
        yield from check_reference(bundle, self.forms, whole=self.work.preview(there))


def manifest_of(model: LoadedModel, files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest of a bundle of these files."""
    family, settings = model.family, model.settings
    streaming = family.streaming_options(settings)
    return Manifest(
        model=model.spec.name,
        variant=model.variant,
        options=option_words(family.options, settings),
        streaming_options=None if streaming is None else _words(family, settings, streaming),
        domain="waveform" if model.spec.stft is None else "spectrum",
        weights=model.weights,
        sample_rate=model.sample_rate,
        stft=model.spec.stft,
        level=model.processing.level,
        padding=model.processing.padding,
        segments=model.processing.segments,
        high_pass=model.processing.high_pass,
        files=files,
        assumptions=model.assumptions,
        tools={name: found for name in _TOOLS if (found := _version(name))},
    )


def _words(family: Family, settings: Settings, further: Settings) -> tuple[str, ...]:
    """Further options as words of the command line."""
    options = [option for option in family.options if option.name in further]
    return option_words(options, {**settings, **further})


def _without_windows(manifest: Manifest) -> Manifest:
    """An inline file takes whole utterances only, up to the longest of any network."""
    above = max(manifest.segments.above, INLINE_SECONDS * manifest.sample_rate)
    segments = msgspec.structs.replace(manifest.segments, above=above)
    return msgspec.structs.replace(manifest, segments=segments)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def require_same_weights(present: Manifest, model: LoadedModel, destination: Path) -> None:
    """Raise UserError where the bundle at `destination` does not match this model."""
    if present.model == model.spec.name and present.variant != model.variant:
        raise UserError(
            f"{destination} holds {present.model} with {_differing(present.variant, model.variant)}"
            "; choose another path with -o"
        )
    if present.model != model.spec.name or not same_weights(present.weights, model.weights):
        raise UserError(
            f"{destination} holds {present.model} with the weights {present.weights.name}, not "
            f"{model.spec.name} with {model.weights.name}; choose another path with -o"
        )


def _differing(there: Variant, given: Variant) -> str:
    """What two variants do not share: `strides 2,3 (not 4,4)`."""

    def text(variant: Variant, name: str) -> str:
        return setting_text(settings_of(variant)[name]) if name in variant else "none"

    names = [n for n in {**there, **given} if there.get(n) != given.get(n)]
    return " and ".join(f"{name} {text(there, name)} (not {text(given, name)})" for name in names)
