"""The source of an engine: an existing bundle, or a model to export first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.engines.options import BuildOptions
from frcrn_export.exporters.family import flag_of, settings_of
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    Manifest,
    Precision,
    Role,
    TensorSpec,
)
from frcrn_export.runtime.bundle.module_command import module_of
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import (
    NEW_BUNDLE,
    build_command,
    calibrate_command,
    options_of,
    profile_options,
    streaming_hint,
    with_fp16,
)
from frcrn_export.runtime.bundle.transaction import require_free
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.parity import floor_of

if TYPE_CHECKING:
    from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
    from frcrn_export.exporters.loading import LoadedModel
    from frcrn_export.exporters.model_source import ModelSource
    from frcrn_export.exporters.streaming_export import StreamingOptions

Step = Callable[[str], None]


@dataclass(frozen=True)
class EngineSource:
    """The bundle to build in. `bundle` is None until it exists, `model` where it is not needed.

    `input` is the engine's input; with `streaming`, `states` are its further inputs. `fp16_floor`
    is the floor in dB for a float16 core that is missing.
    """

    path: Path
    manifest: Manifest
    input: TensorSpec
    bundle: Bundle | None
    model: "LoadedModel | None"
    checkpoint: Path | None
    streaming: "StreamingOptions | None" = None
    states: tuple[TensorSpec, ...] = ()
    fp16_floor: float | None = None

    def prepare(
        self,
        precision: Precision,
        options: BuildOptions,
        step: Step,
        calib: Sequence[Path] = (),
    ) -> Bundle:
        """The bundle with an ONNX core of this precision, exported and verified if needed.

        INT8 and FP8 cores are calibrated on the recordings in the folders `calib`, if needed.
        Raises UserError where recordings or weights for that are missing, CheckFailed where the
        core misses parity or a gate.
        """
        command = self.command(precision, options, calib)
        if precision not in ("int8", "fp8"):
            return self._exported(precision, step, command)
        there = self.manifest.file(self._role, "onnx", precision, "tensorrt")
        if there and self.bundle is not None:
            return self.bundle
        return self._calibrated(precision, calib, step, command)

    def _calibrated(
        self, precision: "QuantizedPrecision", calib: Sequence[Path], step: Step, command: str
    ) -> Bundle:
        streaming = self.streaming is not None
        if not calib:
            kind = "streaming core" if streaming else "core"
            first = calibrate_command(self.path, "tensorrt", precision, streaming=streaming)
            raise UserError(
                f"{self.path} has no {precision.upper()} {kind} for TensorRT; add --calib FOLDER "
                f"with recordings of speech, or run: {first}"
            )
        from frcrn_export.calibration.calibrate import calibrate

        self._exported("fp16", step, command)
        calibrate(
            self.path,
            calib,
            target="tensorrt",
            streaming=streaming,
            precision=precision,
            progress=lambda phase, done, steps: step(
                f"{precision.upper()}: {phase}, {done} of {steps}"
            ),
        )
        return open_bundle(self.path)

    def _exported(self, precision: Precision, step: Step, command: str) -> Bundle:
        fp16 = precision == "fp16"
        there = self.manifest.file(self._role, "onnx", "fp16")
        if there is not None and self.fp16_floor not in (None, floor_of(there)):
            raise UserError(
                f"--fp16-floor {self.fp16_floor:g}: {there.path} in {self.path} has a floor of "
                f"{floor_of(there):g} dB; leave out --fp16-floor, or export another bundle: "
                f"{with_fp16(self.manifest, self.fp16_floor)}"
            )
        if self.bundle and (not fp16 or there):
            return self.bundle  # without PyTorch
        from frcrn_export.exporters.bundle import (
            add_fp16_core,
            add_fp16_streaming_core,
            export_onnx,
        )

        if self.bundle is None:
            assert self.model is not None
            return export_onnx(
                self.model,
                self.path,
                fp16=fp16,
                fp16_floor=self.fp16_floor,
                streaming=self.streaming,
                progress=step,
            )
        add = add_fp16_streaming_core if self.streaming else add_fp16_core
        model = self.model or self._reference(command)
        return add(model, self.bundle, fp16_floor=self.fp16_floor, progress=step)

    @property
    def _role(self) -> Role:
        return "core_streaming" if self.streaming else "core"

    def command(self, precision: Precision, options: BuildOptions, calib: Sequence[Path]) -> str:
        """The command that builds this engine."""
        further = ["--no-tf32"] * (precision == "fp32" and not options.tf32)
        if self.fp16_floor is not None:
            further.append(f"--fp16-floor {self.fp16_floor:g}")
        if options.workspace_bytes is not None:
            further.append(f"--workspace {max(1, options.workspace_bytes >> 20)}")
        if options.timing_cache is not None:
            further.append(f"--timing-cache {quoted(options.timing_cache)}")
        if self.checkpoint is not None:
            further.append(f"--checkpoint {quoted(self.checkpoint)}")
        further += ["--hardware-compatible"] * options.hardware_compatible
        further += ["--strip-weights"] * options.strip_weights
        further += ["--refittable"] * (options.refittable and not options.strip_weights)
        return build_command(
            self.path,
            precision,
            options.backend,
            streaming=self.streaming is not None,
            folders=calib,
            shape=profile_options(self.input, options.profile),
            gpu=options.targets.name,
            options=further,
        )

    def _reference(self, command: str) -> "LoadedModel":
        """The reference model with the bundle's weights, which `command` needs."""
        from frcrn_export.exporters.verify import load_reference

        name = "core.streaming.fp16.onnx" if self.streaming else "core.fp16.onnx"
        reason = f"{self.path} has no {name} to build from"
        return load_reference(self.manifest, self.checkpoint, reason, command)


def find_engine_source(
    path: Path | None,
    source: "ModelSource",
    load: Callable[[], "LoadedModel"],
    streaming: "StreamingOptions | None" = None,
    replacing: bool = False,
) -> EngineSource:
    """The bundle at `path`, else the model from `load`; its name is the default path.

    With `streaming` the engine is built from the streaming core; with `replacing` existing engines
    may be damaged or missing. Raises UserError where the bundle has another model, other weights or
    other streaming options.
    """
    if path is not None and (path / MANIFEST_NAME).is_file():
        bundle = open_bundle(path, engines=not replacing)
        _require_same_source(path, bundle.manifest, source)
        return existing_source(bundle, None, source.checkpoint, streaming)
    if path is not None:
        require_free(path, force=True)
    loaded = load()
    path = path or Path(loaded.spec.name)
    if (path / MANIFEST_NAME).is_file():
        from frcrn_export.exporters.bundle import require_same_weights

        bundle = open_bundle(path, engines=not replacing)
        require_same_weights(bundle.manifest, loaded, path)
        return existing_source(bundle, loaded, source.checkpoint, streaming)
    from frcrn_export.exporters.bundle import manifest_of
    from frcrn_export.exporters.graphs import core_graph

    manifest = manifest_of(loaded, ())
    if streaming is None:
        return EngineSource(
            path, manifest, core_graph(loaded).input, None, loaded, source.checkpoint
        )
    from frcrn_export.exporters.streaming_export import (
        StreamingForms,
        state_tensors,
        streaming_tensors,
    )

    core = StreamingForms(loaded, streaming).core()
    given, states = streaming_tensors(loaded, core)[0], state_tensors(core)
    return EngineSource(path, manifest, given, None, loaded, source.checkpoint, streaming, states)


def require_bundle(path: Path, source: "ModelSource") -> None:
    """Raise UserError where a path is no bundle and no option names a model to export there."""
    if not (path / MANIFEST_NAME).is_file() and not source.is_given:
        raise UserError(
            f"{path} is no bundle; give one, or say which model to export there: "
            "--model NAME, --checkpoint FILE or --random-weights SEED"
        )


def _require_same_source(path: Path, manifest: Manifest, source: "ModelSource") -> None:
    """Raise UserError where the options do not match the bundle's model."""
    model, seed, weights = source.model, source.seed, manifest.weights
    if model is not None and model != manifest.model:
        raise UserError(f"{path} holds {manifest.model}, not {model}; leave out --model")
    if seed is not None and seed != weights.seed:
        raise UserError(
            f"{path} holds {weights.name}, not random weights of seed {seed}; "
            "leave out --random-weights"
        )
    if source.checkpoint is not None:
        from frcrn_export.exporters.verify import require_same_checkpoint

        require_same_checkpoint(manifest, source.checkpoint)
    if source.state_dict is not None and source.state_dict != weights.state_dict:
        held = f"the state dict {weights.state_dict}" if weights.state_dict else "one state dict"
        raise UserError(
            f"--state-dict {source.state_dict}: {path} was made from {held} of {weights.name}; "
            "leave out --state-dict, or export another bundle with -o NEW_BUNDLE"
        )
    there = settings_of(manifest.variant)
    for name, value in source.options.items():
        if value != there.get(name):
            option = flag_of(name)
            found = f"has {name} {there[name]}" if name in there else f"has no {name}"
            raise UserError(
                f"{option} {value}: the model in {path} {found}; leave out {option}, or export "
                "another bundle with -o NEW_BUNDLE"
            )


def existing_source(
    bundle: Bundle,
    model: "LoadedModel | None",
    checkpoint: Path | None,
    streaming: "StreamingOptions | None",
) -> EngineSource:
    """An opened bundle to build in. Raises UserError without an ONNX core of this kind."""
    if streaming is not None:
        return _existing_streaming(bundle, model, checkpoint, streaming)
    core = bundle.manifest.file("core", "onnx") or bundle.manifest.file("core", "onnx", "fp16")
    if core is None:
        command = "trt" if module_of(bundle.manifest) is None else "onnx --fp16"
        raise UserError(
            f"{bundle.path}: no ONNX core in this bundle to build an engine from; run: "
            f"frcrn-export {command} {options_of(bundle.manifest)} {NEW_BUNDLE}"
        )
    return EngineSource(bundle.path, bundle.manifest, core.inputs[0], bundle, model, checkpoint)


def _existing_streaming(
    bundle: Bundle,
    model: "LoadedModel | None",
    checkpoint: Path | None,
    streaming: "StreamingOptions",
) -> EngineSource:
    from frcrn_export.exporters.streaming_export import bundled_options

    there = bundled_options(bundle.manifest)
    core = bundle.manifest.file("core_streaming", "onnx")
    if there is None or core is None:
        raise UserError(
            f"{bundle.path}: no streaming core in this bundle to build an engine from; "
            f"{streaming_hint(bundle.manifest, 'trt')}"
        )
    for option, wanted, found in (
        ("chunk", streaming.chunk, there.chunk),
        ("lookahead", streaming.lookahead, there.lookahead),
    ):
        if wanted not in (None, found):
            raise UserError(
                f"--{option} {wanted}: the streaming core of {bundle.path} has {found}; "
                f"leave out --{option}, or choose another path with -o"
            )
    given, *states = core.call_inputs
    return EngineSource(
        bundle.path, bundle.manifest, given, bundle, model, checkpoint, there, tuple(states)
    )
