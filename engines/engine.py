"""From a bundle to a TensorRT engine in it, in one call."""

from collections.abc import Callable, Sequence
from pathlib import Path

from frcrn_export.engines.backends import resolve_backend
from frcrn_export.engines.build_log import Progress
from frcrn_export.engines.bundle import add_engine
from frcrn_export.engines.gpus import DEFAULT_GPU
from frcrn_export.engines.options import BuildOptions, check_options, check_precision
from frcrn_export.engines.profiles import make_profile, make_streaming_profile
from frcrn_export.engines.source import existing_source
from frcrn_export.engines.targets import find_targets
from frcrn_export.runtime.bundle.manifest import FileEntry, Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, path_of
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt

Size = int | str


def build_engine(
    bundle: Bundle | Path | str,
    *,
    precision: Precision = "fp16",
    gpu: str = DEFAULT_GPU,
    backend: str = "auto",
    streaming: bool = False,
    batch: Size | None = None,
    frames: Size | None = None,
    samples: Size | None = None,
    recordings: Sequence[Path | str] = (),
    checkpoint: Path | str | None = None,
    tf32: bool = True,
    workspace_bytes: int | None = None,
    timing_cache: Path | str | None = None,
    hardware_compatible: bool = False,
    refittable: bool = False,
    strip_weights: bool = False,
    force: bool = False,
    progress: Progress = lambda phase, done, steps: None,
    keep_log: Callable[[str], None] = lambda text: None,
) -> FileEntry:
    """Build a TensorRT engine from a bundle's ONNX core, and add it to the bundle.

    TensorRT-RTX builds for a GPU on any machine, classic TensorRT on the GPU itself. The engine is
    verified where it can run: see `verify`.

    Example:
        >>> engine = frcrn_export.build_engine("wave", gpu="rtx4090d", backend="tensorrt-rtx")
        >>> engine.path, engine.engine.sms
        ('core.fp16.sm89.tensorrt-rtx.engine', (89,))

    Args:
        bundle: A bundle with a float32 ONNX core. A missing core of another precision is added
            first.
        precision: "fp16", "fp32", "int8" or "fp8" (from SM 8.9 on).
        gpu: A GPU's name, "auto" for the one in this machine, or an SM number such as "8.9".
            Several with commas, a family ("ampere"), or with "+" all from there on ("ampere+"):
            one engine of TensorRT-RTX for all of them.
        backend: "tensorrt", "tensorrt-rtx", or "auto" for what can build here.
        streaming: Build from the streaming core.
        batch: Utterances at once, or streams: one number, or "MIN:OPT:MAX".
        frames: Lengths in frames that the engine takes, for networks that take spectra.
        samples: Lengths in samples, for networks that take waveforms.
        recordings: Folders of noisy speech to calibrate on, where an INT8 or FP8 core is missing.
        checkpoint: The weights file, where a core is missing and the bundle does not say where its
            weights are.
        tf32: Let float32 convolutions round their inputs to TensorFloat-32.
        workspace_bytes: Limit of scratch memory; None is the builder's own.
        timing_cache: A file of kernel timings, read and written (classic TensorRT).
        hardware_compatible: For Ampere and every later GPU, more slowly (classic TensorRT).
        refittable: Weights can be replaced without a new build.
        strip_weights: Leave the weights out of the engine; opening it takes them from the ONNX
            file.
        force: Replace an engine that the bundle has.
        progress: Called with a phase, its number of steps done, and their total; from another
            thread during the build.
        keep_log: Called with the builder's output.

    Returns:
        The engine's entry in the manifest; its layer report lies beside it.

    Raises:
        UserError: An option that does not fit the network, the GPU or the backend; an engine that
            exists; a core that is missing and cannot be made here.
        BundleError: The bundle cannot be read.
        BackendError: The backend is not installed, or cannot be loaded.
        BuildError: The builder failed; a `FrcrnExportError` with the whole `log`.
        CheckFailed: A core that had to be made missed parity, or a gate.
    """
    from frcrn_export.exporters.streaming_export import StreamingOptions

    targets = find_targets(gpu)
    check_precision(precision, targets)
    chosen = resolve_backend(backend, targets)
    load_tensorrt(chosen)
    weights = None if checkpoint is None else Path(checkpoint)
    opened = open_bundle(path_of(bundle), engines=not force)
    base = existing_source(opened, None, weights, StreamingOptions() if streaming else None)
    make = make_streaming_profile if streaming else make_profile
    options = BuildOptions(
        backend=chosen,
        targets=targets,
        profile=make(
            base.manifest,
            base.input,
            batch=_text(batch),
            frames=_text(frames),
            samples=_text(samples),
        ),
        states=base.states,
        workspace_bytes=workspace_bytes,
        timing_cache=None if timing_cache is None else Path(timing_cache),
        hardware_compatible=hardware_compatible,
        refittable=refittable or strip_weights,
        strip_weights=strip_weights,
        tf32=tf32,
    )
    check_options(options)
    folders = tuple(map(Path, recordings))
    ready = base.prepare(precision, options, lambda step: progress(step, 0, 1), folders)
    engine, _ = add_engine(
        ready.path, precision, options, force=force, progress=progress, keep_log=keep_log
    )
    return engine


def _text(size: Size | None) -> str | None:
    return None if size is None else str(size)
