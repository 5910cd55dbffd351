"""The commands that make a bundle's files again, as errors name them."""

import shlex
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import Consumer, FileEntry, Manifest, Precision

# What `frcrn-export calibrate --for` calls them.
TARGETS: dict[Consumer, str] = {"tensorrt": "rtx4090d", "cpu": "cpu"}


def options_of(
    manifest: Manifest, *, streaming: bool = False, checkpoint: Path | None = None
) -> str:
    """The options that name a bundle's network and its weights.

    With `streaming` the form of the network that can stream; `checkpoint` is where the weights lie,
    where that is known.
    """
    options = [f"--model {manifest.model}"]
    pooling = str(manifest.variant.get("squeeze_excite", "global"))
    if streaming and manifest.variant.get("squeeze_excite") == "global":
        pooling = "cumulative"
    if pooling != "global":
        options.append(f"--squeeze-excite {pooling}")
    weights = manifest.weights
    if weights.source == "random":
        options.append(f"--random-weights {weights.seed}")
    elif weights.source == "checkpoint":
        options.append(f"--checkpoint {shlex.quote(str(checkpoint or weights.name))}")
    return " ".join(options)


def export_to(root: Path) -> str:
    """The command that exports a bundle to a path, or to another where something is in the way."""
    free = not root.exists() or (root.is_dir() and not any(root.iterdir()))
    return f"frcrn-export onnx -o {shlex.quote(str(root)) if free else 'ANOTHER'}"


def streaming_hint(manifest: Manifest, command: str = "onnx", *, windows: bool = False) -> str:
    """What to do where a bundle has no streaming core; `windows`: whether they would do."""
    ways = []
    if _can_stream(manifest):
        options = options_of(manifest, streaming=True)
        ways.append(f"run: frcrn-export {command} --streaming {options} -o ANOTHER")
    if windows:
        ways.append("recompute overlapping windows: windowed=True (--windowed)")
    return ", or ".join(ways) or f"{manifest.model} cannot stream: leave out --streaming"


def _can_stream(manifest: Manifest) -> bool:
    """Whether a network has a streaming form: none of whole segments, none that is not causal."""
    cores = [entry for entry in manifest.files if entry.role == "core" and entry.inputs]
    whole = any(isinstance(entry.inputs[0].shape[-1], int) for entry in cores)
    return not whole and manifest.variant.get("causal", True) is True


def export_again(manifest: Manifest) -> str:
    """The command that exports the same weights into the same kinds of files, to another place."""
    if all(entry.format != "onnx" for entry in manifest.files):
        return f"frcrn-export torchscript {options_of(manifest)} -o ANOTHER"
    streaming = manifest.file("core_streaming", "onnx")
    command = ["frcrn-export onnx", options_of(manifest, streaming=streaming is not None)]
    if manifest.file("pipeline", "onnx"):
        command.append("--stft inline")
    if any(f.format == "onnx" and f.precision == "fp16" for f in manifest.files):
        command.append("--fp16")
    if streaming is not None and streaming.streaming is not None:
        hop = 1 if manifest.stft else manifest.padding.size
        info = streaming.streaming
        command.append(f"--streaming --chunk {info.chunk // hop} --lookahead {info.lookahead}")
    return " ".join([*command, "-o ANOTHER"])


def calibrate_command(
    root: Path,
    consumer: Consumer,
    precision: Precision | None = "int8",
    *,
    streaming: bool = False,
) -> str:
    """The command that makes a bundle's INT8 or FP8 core, offline or streaming, for a consumer."""
    command = f"frcrn-export calibrate {shlex.quote(str(root))} --for {TARGETS[consumer]}"
    command += " --fp8" * (precision == "fp8")
    return f"{command} --calib FOLDER" + " --streaming" * streaming


def make_again(root: Path, manifest: Manifest, entry: FileEntry) -> str:
    """The command that makes one file again: engines, INT8 and FP8 alone, else with its bundle."""
    for built in manifest.files:
        if built.engine is not None and entry.path in (built.path, built.engine.layers):
            return _build_again(root, built)
    quantized = [made for made in manifest.files if made.quantization is not None]
    for made in sorted(quantized, key=lambda made: -len(made.path)):
        assert made.quantization is not None
        if entry.path.startswith(made.path.removesuffix("onnx")):  # its reports too
            consumer, streaming = made.quantization.consumer, made.streaming is not None
            command = calibrate_command(root, consumer, made.precision, streaming=streaming)
            return f"{command} --force"
    return export_again(manifest)


def _build_again(root: Path, entry: FileEntry) -> str:
    engine = entry.engine
    assert engine is not None
    command = ["frcrn-export trt", shlex.quote(str(root)), f"--{entry.precision}"]
    if entry.streaming is not None:
        command.append(f"--streaming --batch {engine.profile.max[0]}")
    command.append(f"--gpu {engine.gpu} --backend {engine.backend}")
    command += ["--hardware-compatible"] * engine.hardware_compatible
    command += ["--refittable"] * engine.refittable
    return " ".join([*command, "--force"])
