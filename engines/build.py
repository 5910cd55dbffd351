"""Building an engine: one code path for TensorRT 10 and 11 and for TensorRT-RTX."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frcrn_export.engines.build_log import BuildLog, Message, recording_logger
from frcrn_export.engines.failures import BuildError, build_failure, parser_reason
from frcrn_export.engines.layers import LAYERS_PREFIX, parse_layers
from frcrn_export.engines.onnx_source import OnnxSource, read_source
from frcrn_export.engines.options import BuildOptions, check_options
from frcrn_export.engines.progress import BuildProgress, Progress, progress_monitor
from frcrn_export.engines.timing_cache import load_timing_cache, save_timing_cache
from frcrn_export.engines.versions import check_version, cuda_major
from frcrn_export.runtime.bundle.layer_report import LayerReport
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.tensorrt_backends import load_flavor, version_of

if TYPE_CHECKING:
    import tensorrt as trt

_EXPORT_AGAIN = "export the bundle again: frcrn-export onnx --fp16 -o ANOTHER"


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in memory. `log` is all that the builder said; `cuda` a major version."""

    plan: bytes = field(repr=False)
    layers: LayerReport = field(repr=False)
    log: str = field(repr=False)
    seconds: float
    version: str
    cuda: int


def build_engine(
    source: Path, options: BuildOptions, progress: Progress | None = None
) -> BuiltEngine:
    """Build an engine from one of our ONNX files. `progress` is called from another thread.

    Raises UserError for a file or options that cannot be used, BackendError where the flavour is
    missing, BuildError where it cannot build this network, all with the parser's or builder's own
    reason, and KeyboardInterrupt when the user stops it.
    """
    network = read_source(source, list(options.state_shapes))
    check_options(options)
    version = version_of(options.flavor)
    check_version(options.flavor, version)
    cuda = cuda_major(options.flavor)
    state = BuildProgress(progress)
    started = time.perf_counter()
    # In a thread of its own, so that this one hears Ctrl-C.
    with ThreadPoolExecutor(max_workers=1) as pool:
        build = pool.submit(_build, source, network, options, state)
        try:
            plan, layers, log = build.result()
        except KeyboardInterrupt:
            state.cancel()
            raise
        except MemoryError as error:
            raise BackendError(f"{source}: out of memory; close other programs") from error
    return BuiltEngine(plan, layers, log.text(), time.perf_counter() - started, version, cuda)


def _build(
    source: Path, network: OnnxSource, options: BuildOptions, progress: BuildProgress
) -> tuple[bytes, LayerReport, BuildLog]:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_flavor(options.flavor)
    messages: list[Message] = []
    log = BuildLog(messages)
    logger = recording_logger(options.flavor, messages)
    builder = trt.Builder(logger)
    # TensorRT 10 has to be asked for strong typing; later ones know nothing else.
    definition = builder.create_network(1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED.value)
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network.model, str(source)):
        reason = parser_reason(parser)
        raise BuildError(f"{source}: not parsed: {reason}; {_EXPORT_AGAIN}", log.text())
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = progress_monitor(options.flavor, progress)
    _configure(config, options)
    profile = builder.create_optimization_profile()
    shapes = (options.profile.min, options.profile.opt, options.profile.max)
    ranges = {name: (shape,) * 3 for name, shape in options.state_shapes.items()}
    for name, sizes in ({network.input: shapes} | ranges).items():
        smallest, best, largest = map(trt.Dims, sizes)
        profile.set_shape(name, smallest, best, largest)
    if config.add_optimization_profile(profile) < 0:
        raise build_failure(source, log)
    serialized = builder.build_serialized_network(definition, config)
    if progress.failure is not None:
        raise progress.failure
    if serialized is None:
        raise KeyboardInterrupt if progress.cancelled else build_failure(source, log)
    plan = _bytes(serialized)
    if options.timing_cache is not None:
        save_timing_cache(_bytes(config.get_timing_cache().serialize()), options.timing_cache)
    text = log.starting(LAYERS_PREFIX) or _inspect(plan, logger, options)
    report = parse_layers(
        text,
        network.nodes,
        activation_bytes=log.number("Total Activation Memory"),
        weights_bytes=log.number("Total Weights Memory"),
    )
    return plan, report, log


def _configure(config: "trt.IBuilderConfig", options: BuildOptions) -> None:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_flavor(options.flavor)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.tf32:  # TensorRT's default, said all the same
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.timing_cache is not None:
        load_timing_cache(config, options.timing_cache)
    if options.flavor == "tensorrt-rtx":
        _set_capability(config, options.target.sm, load_flavor("tensorrt-rtx"))


def _set_capability(config: Any, sm: int, rtx: Any) -> None:
    """Build for this SM alone, whatever GPU is here. Only TensorRT-RTX has these calls."""
    capability = rtx.ComputeCapability.__members__.get(f"SM{sm}")
    if capability is None:
        raise BackendError(
            f"tensorrt-rtx {rtx.__version__} does not know SM {sm}; "
            'run: pip install --upgrade "frcrn-export[rtx]"'
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)


def _inspect(plan: bytes, logger: "trt.ILogger", options: BuildOptions) -> str:
    """The layers of an engine whose builder did not log them, asked of the engine itself.

    Some releases of classic TensorRT are such; it builds where its GPU is, so the engine opens.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_flavor(options.flavor)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{options.flavor} cannot open the engine that it has just built")
    inspector = engine.create_engine_inspector()
    text: str = inspector.get_engine_information(trt.LayerInformationFormat.ONELINE)
    return text


def _bytes(memory: Any) -> bytes:
    """The bytes of an IHostMemory, whose buffer protocol the binding does not declare."""
    return bytes(memory)
