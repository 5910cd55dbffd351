"""The commands that make a bundle's files again, complete and quoted, as errors print them."""

from collections.abc import Sequence
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    TRANSACTION_NAME,
    EngineInfo,
    FileEntry,
    Manifest,
    Precision,
    Profile,
    Role,
    Target,
    TensorrtBackend,
    TensorSpec,
)
from frcrn_export.runtime.bundle.module_command import module_of, module_options
from frcrn_export.runtime.text import quoted, shown

# Output of a command that must not replace anything; the user fills in the name.
NEW_BUNDLE = "-o NEW_BUNDLE"
# The targets as `frcrn-export calibrate --for` names them.
FOR_VALUES: dict[Target, str] = {"tensorrt": "rtx4090d", "cpu": "cpu"}
# The suffixes of files that may hold weights.
_WEIGHTS = (".pth", ".pt", ".bin", ".th", ".tar", ".ckpt", ".safetensors")
# The formats of ONNX files and of what is built from them; a pack may hold engines alone.
_FROM_ONNX = ("onnx", "engine")
# The dynamic axes that `frcrn-export trt` has an option for.
_AXES = ("batch", "frames", "samples")


def options_of(
    manifest: Manifest, *, streaming: bool = False, checkpoint: Path | None = None
) -> str:
    """The options that name a bundle's network and its weights.

    With `streaming` the form of the network that can stream; `checkpoint` is where the weights lie,
    where that is known.
    """
    own = module_of(manifest) is not None
    options = [module_options(manifest) if own else f"--model {quoted(manifest.model)}"]
    words = (*manifest.options, *((manifest.streaming_options or ()) if streaming else ()))
    options += map(quoted, words)
    weights = manifest.weights
    if weights.are_random:
        options.append(f"--random-weights {weights.seed}")
    elif weights.source == "checkpoint":
        options.append(f"--checkpoint {quoted(checkpoint or weights.name)}")
        if weights.state_dict:
            options.append(f"--state-dict {quoted(weights.state_dict)}")
    return " ".join(options)


def export_to(root: Path) -> str:
    """The command that exports a bundle to a path, or to NEW_BUNDLE where the path is taken."""
    if root.is_file() and root.suffix.lower() in _WEIGHTS:
        return f"frcrn-export onnx --checkpoint {quoted(root)} {NEW_BUNDLE}"
    free = not root.exists() or (
        root.is_dir() and all(path.name == TRANSACTION_NAME for path in root.iterdir())
    )
    return f"frcrn-export onnx -o {quoted(root)}" if free else f"frcrn-export onnx {NEW_BUNDLE}"


def onnx_command(manifest: Manifest, *, fp16: bool = False, streaming: bool = False) -> str:
    """The command that exports a network with its weights as ONNX, into a new bundle."""
    kinds = " --fp16" * fp16 + " --streaming" * streaming
    return f"frcrn-export onnx {options_of(manifest, streaming=streaming)}{kinds} {NEW_BUNDLE}"


def streaming_hint(manifest: Manifest, command: str = "onnx", *, windows: bool = False) -> str:
    """What to do about a missing streaming core; `windows`: whether windowed streaming would do."""
    ways = []
    if _can_stream(manifest):
        options = options_of(manifest, streaming=True)
        if module_of(manifest) is not None and command == "trt":
            command = "onnx --fp16"  # the one command that runs a module's code
        ways.append(f"run: frcrn-export {command} --streaming {options} {NEW_BUNDLE}")
    if windows:
        ways.append("recompute overlapping windows: windowed=True (--windowed)")
    return ", or ".join(ways) or f"{shown(manifest.model)} cannot stream: leave out --streaming"


def _can_stream(manifest: Manifest) -> bool:
    """Whether a network has a streaming form: it takes no whole segments, and is causal."""
    cores = [entry for entry in manifest.files if entry.role == "core" and entry.inputs]
    whole = any(isinstance(entry.inputs[0].shape[-1], int) for entry in cores)
    return not whole and manifest.streaming_options is not None


def export_again(manifest: Manifest) -> str:
    """The command that exports the same weights into the same kinds of files, in a new bundle."""
    commands = []
    if any(entry.format in _FROM_ONNX for entry in manifest.files):
        commands.append(_onnx_again(manifest))
    if manifest.file("core", "torchscript") or not commands:
        commands.append(f"frcrn-export torchscript {options_of(manifest)} {NEW_BUNDLE}")
    return " && ".join(commands)


def _onnx_again(manifest: Manifest, fp16: bool = False, floor: float | None = None) -> str:
    files = [entry for entry in manifest.files if entry.format in _FROM_ONNX]
    streaming = next((entry for entry in files if entry.streaming is not None), None)
    command = ["frcrn-export onnx", options_of(manifest, streaming=streaming is not None)]
    if any(entry.role == "pipeline" for entry in files):
        command.append("--stft inline")
    halves = [entry for entry in files if entry.precision == "fp16"]
    if fp16 or halves:
        command.append("--fp16")
    floors = [f.floor_db for f in halves if f.floor_db is not None] if floor is None else [floor]
    if floors:
        command.append(f"--fp16-floor {min(floors):g}")
    if streaming is not None and streaming.streaming is not None:
        length, info = manifest.frame_length, streaming.streaming
        command.append(
            f"--streaming --chunk {info.chunk // length} --lookahead {info.lookahead // length}"
        )
    if static := manifest.file("core_static", "onnx"):
        shape = static.inputs[0].shape
        command.append(f"--static {shape[0]} {shape[-1]}")
    return " ".join([*command, NEW_BUNDLE])


def with_fp16(manifest: Manifest, floor: float | None = None) -> str:
    """The command that exports a bundle's network again, with the FP16 core for engines.

    With `floor` that core has another floor in dB.
    """
    return _onnx_again(manifest, fp16=True, floor=floor)


def calibrate_command(
    root: Path,
    target: Target,
    precision: Precision | None = "int8",
    *,
    streaming: bool = False,
    folders: Sequence[Path] = (),
    options: str = "",
) -> str:
    """The command that makes a bundle's INT8 or FP8 core, offline or streaming, for a target.

    `folders` hold the recordings; FOLDER stands for unknown ones. `options`: further options.
    """
    command = f"frcrn-export calibrate {quoted(root)} --for {FOR_VALUES[target]}"
    command += " --fp8" * (precision == "fp8")
    for folder in map(quoted, folders or ("FOLDER",)):
        command += f" --calib {folder}"
    return f"{command}{' --streaming' * streaming}{' ' * bool(options)}{options}"


def make_again(root: Path, manifest: Manifest, entry: FileEntry) -> str:
    """The command that makes a file again: an engine, INT8 or FP8 file alone, else its bundle."""
    for built in manifest.files:
        engine = built.engine
        if engine is not None and entry.path in (built.path, engine.layers, engine.context):
            return build_again(root, built)
    quantized = [made for made in manifest.files if made.quantization is not None]
    for made in sorted(quantized, key=lambda made: -len(made.path)):
        if entry.path.startswith(made.path.removesuffix("onnx")):  # its reports too
            return _calibrate_again(root, manifest, made)
    return export_again(manifest)


def _calibrate_again(root: Path, manifest: Manifest, entry: FileEntry) -> str:
    made = entry.quantization
    assert made is not None
    options = [f"--method {made.method} --clips {made.clips} --seed {made.seed}"]
    if made.kept_slower:
        options.append("--allow-slower")
    if manifest.weights.source == "checkpoint":
        options.append(f"--checkpoint {quoted(manifest.weights.name)}")
    return calibrate_command(
        root,
        made.target,
        entry.precision,
        streaming=entry.streaming is not None,
        options=" ".join([*options, "--force"]),
    )


def build_command(
    root: Path,
    precision: Precision,
    backend: TensorrtBackend,
    *,
    streaming: bool = False,
    folders: Sequence[object] = (),
    shape: Sequence[str] = (),
    gpu: str | None = None,
    options: Sequence[str] = (),
) -> str:
    """The command that builds an engine of a bundle.

    `folders` are for what is still to calibrate, `shape` the options of the profile (see
    `profile_options`), `gpu` what to build for if not the default, `options` further ones.
    """
    command = ["frcrn-export trt", quoted(root), f"--{precision}"]
    command += [f"--calib {quoted(folder)}" for folder in folders]
    command += ["--streaming"] * streaming
    command += shape
    command += [f"--gpu {quoted(gpu)}"] * (gpu is not None)
    return " ".join([*command, f"--backend {backend}", *options])


def first_engine(
    root: Path,
    manifest: Manifest,
    precision: Precision,
    backend: TensorrtBackend,
    *,
    role: Role = "core",
    batch: int = 1,
    gpu: str | None = None,
) -> str:
    """The command that builds a bundle's first engine of a kind, with what that still needs.

    These are recordings for an INT8 or FP8 core, and the weights (of a user's own module its code)
    for a float16 one.
    """
    calibrated = precision in QUANTIZED and manifest.file(role, "onnx", precision, "tensorrt")
    needs_fp16 = precision != "fp32" and not (calibrated or manifest.file(role, "onnx", "fp16"))
    own, weights = module_of(manifest) is not None, manifest.weights
    options = [f"--checkpoint {quoted(weights.name)}"] * (weights.source == "checkpoint")
    command = build_command(
        Path("NEW_BUNDLE") if own and needs_fp16 else root,
        precision,
        backend,
        streaming=role == "core_streaming",
        folders=("FOLDER",) if precision in QUANTIZED and not calibrated else (),
        shape=[f"--batch {batch}"] * (batch > 1),
        gpu=gpu,
        options=options if needs_fp16 and not own else (),
    )
    return f"{with_fp16(manifest)} && {command}" if own and needs_fp16 else command


def build_again(
    root: Path, entry: FileEntry, *, gpu: str | None = None, profile: Profile | None = None
) -> str:
    """The command that builds an engine again, unchanged or for another `gpu` or `profile`."""
    engine = entry.engine
    assert engine is not None
    return build_command(
        root,
        entry.precision,
        engine.backend,
        streaming=entry.streaming is not None,
        shape=profile_options(entry.inputs[0], profile or engine.profile),
        gpu=gpu or engine.gpu,
        options=[*_build_options(entry.precision, engine), "--force"],
    )


def _build_options(precision: Precision, engine: EngineInfo) -> list[str]:
    """The further options of `frcrn-export trt` that an engine was built with."""
    options = ["--no-tf32"] * (precision == "fp32" and not engine.tf32)
    if engine.workspace_bytes is not None:
        options.append(f"--workspace {max(1, engine.workspace_bytes >> 20)}")
    options += ["--hardware-compatible"] * engine.hardware_compatible
    options += ["--strip-weights"] * engine.stripped
    return options + ["--refittable"] * (engine.refittable and not engine.stripped)


def profile_options(tensor: TensorSpec, profile: Profile) -> list[str]:
    """The options of `frcrn-export trt` that give this profile of an engine's input."""
    sizes = zip(profile.min, profile.opt, profile.max, strict=True)
    named = zip(tensor.shape, sizes, strict=True)
    return [
        f"--{axis} {low}" if low == high else f"--{axis} {low}:{best}:{high}"
        for axis, (low, best, high) in named
        if axis in _AXES
    ]
