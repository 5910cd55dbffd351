"""Building an engine: one code path for TensorRT 10 and 11 and for TensorRT-RTX."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from frcrn_export.engines.build_log import (
    BuildError,
    BuildLog,
    BuildProgress,
    Message,
    Progress,
    build_failure,
    parser_reason,
    progress_monitor,
    recording_logger,
)
from frcrn_export.engines.layers import LAYERS_PREFIX, parse_layers
from frcrn_export.engines.memory import check_estimate, check_taken
from frcrn_export.engines.options import BuildOptions, check_options
from frcrn_export.engines.versions import check_version, cuda_major
from frcrn_export.engines.weight_map import weight_map
from frcrn_export.engines.work import node_work
from frcrn_export.runtime.bundle.graph_shapes import Shape
from frcrn_export.runtime.bundle.layer_report import LayerReport, OnnxNode
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.errors import BackendError, UserError, reading
from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt, sm_text, version_of

if TYPE_CHECKING:
    import onnx
    import tensorrt as trt


def load_timing_cache(config: "trt.IBuilderConfig", path: Path) -> None:
    """Load the timing cache from a file; an empty cache if there is no file yet.

    Raises UserError for a file that cannot be read, or is of another GPU or release.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose another --timing-cache") from error
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise UserError(
            f"{path}: not a timing cache of this GPU and this TensorRT; "
            "remove it, or choose another --timing-cache"
        )


def save_timing_cache(data: bytes, path: Path) -> None:
    """Write a serialized cache, all of it or nothing. Raises UserError if that fails."""
    try:
        replace_file(path, data)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}: the timing cache was not written; "
            "free some space, or choose another --timing-cache"
        ) from error


INPUT_NAMES = ("spec", "wave")
# TensorRT's names of ONNX's element types.
_TYPE_NAMES = {
    "FLOAT": "Float",
    "FLOAT16": "Half",
    "BFLOAT16": "BFloat16",
    "FLOAT8E4M3FN": "FP8",
    "INT8": "Int8",
    "INT32": "Int32",
    "INT64": "Int64",
    "BOOL": "Bool",
}
# Operators with a weight as second input.
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_CONTROL_FLOW = ("If", "Loop", "Scan")


@dataclass(frozen=True)
class OnnxSource:
    """A core as an ONNX model, and its nodes by name."""

    model: bytes
    input: str
    nodes: Mapping[str, OnnxNode]


def read_source(
    path: Path, states: Sequence[str] = (), shapes: Mapping[str, Shape] | None = None
) -> OnnxSource:
    """Read an ONNX file; `states` are the names of a streaming core's further inputs.

    `shapes` are those of all inputs, by name, at which the work of the nodes is counted.

    Raises UserError for a file that is not a core from this package.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            f'onnx is not installed ({error}); run: pip install "frcrn-export[export]"'
        ) from error
    remedy = "give a core that frcrn-export wrote"
    with reading(path, "cannot be read as ONNX", remedy, UserError):
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
        if problem := _problem(model, states):
            raise UserError(f"{path}: {problem}; {remedy}")
        return OnnxSource(model=data, input=model.graph.input[0].name, nodes=_nodes(model, shapes))


def _problem(model: "onnx.ModelProto", states: Sequence[str]) -> str | None:
    """Why a model is not a core from this package, or None."""
    from onnx import TensorProto

    graph = model.graph
    if not graph.node:
        return "an ONNX file without nodes"
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not states and (len(inputs) != 1 or len(graph.output) != 1 or len(graph.input) != 1):
        return f"{len(inputs)} inputs and {len(graph.output)} outputs where a core has one of each"
    if [value.name for value in inputs[1:]] != list(states):
        return "its states are not those that the manifest names"
    if inputs[0].name not in INPUT_NAMES:
        return f"its input is {inputs[0].name!r}, a core's is {' or '.join(INPUT_NAMES)}"
    for value in (*inputs, *graph.output):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            return f"{value.name} is not float32"
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer):
        return "its weights lie in another file"
    for node in graph.node:
        if node.op_type in _CONTROL_FLOW:
            return f"node {node.name!r} is a {node.op_type}, which a core does not have"
    return None


def _nodes(model: "onnx.ModelProto", shapes: Mapping[str, Shape] | None) -> dict[str, OnnxNode]:
    """Every node by name; output types are inferred where the file does not say."""
    from onnx import TensorProto, shape_inference

    work = node_work(model, shapes or {})
    graph = shape_inference.infer_shapes(model).graph
    dequantized = {
        name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    types = {
        value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        for value in (*graph.value_info, *graph.output)
    }
    return {
        node.name: OnnxNode(
            op_type=node.op_type,
            dtype=_TYPE_NAMES.get(types.get(node.output[0], ""), ""),
            quantized=node.op_type in _WEIGHTED and dequantized.issuperset(node.input[:2]),
            is_weighted=node.name in work,
            multiplications=work[node.name].multiplications if node.name in work else None,
            channels=work[node.name].channels if node.name in work else None,
        )
        for node in graph.node
    }


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in memory. `log` is the builder's output; `cuda` a major version."""

    plan: bytes = field(repr=False)
    layers: LayerReport = field(repr=False)
    log: str = field(repr=False)
    seconds: float
    version: str
    cuda: int


def build_plan(
    source: Path, options: BuildOptions, progress: Progress | None = None
) -> BuiltEngine:
    """Build an engine from one of our ONNX files. `progress` is called from another thread.

    Raises UserError for a file or options that cannot be used, BackendError where the backend is
    missing, BuildError where it cannot build this network, all with the parser's or builder's own
    reason, and KeyboardInterrupt when the user stops it.
    """
    shapes = dict.fromkeys(INPUT_NAMES, options.profile.opt) | options.state_shapes
    network = read_source(source, list(options.state_shapes), shapes)
    return build_network(source, network, options, progress)


def build_network(
    source: Path, network: OnnxSource, options: BuildOptions, progress: Progress | None = None
) -> BuiltEngine:
    """Build an engine from a model in memory, which errors call `source`. Raises as build_plan."""
    check_options(options)
    estimate = check_estimate(source, network.model, options)
    version = version_of(options.backend)
    check_version(options.backend, version)
    cuda = cuda_major(options.backend)
    state = BuildProgress(progress)
    started = time.perf_counter()
    # In a thread of its own, so that this thread receives Ctrl-C.
    with ThreadPoolExecutor(max_workers=1) as pool:
        build = pool.submit(_build, source, network, options, state)
        try:
            plan, layers, log = build.result()
        except KeyboardInterrupt:
            state.cancel()
            raise
        except MemoryError as error:
            raise BackendError(f"{source}: out of memory; close other programs") from error
    check_taken(source, layers.activation_bytes, layers.weights_bytes, options)
    if estimate.complete:
        layers = msgspec.structs.replace(layers, estimated_activation_bytes=estimate.bytes)
    return BuiltEngine(plan, layers, log.text(), time.perf_counter() - started, version, cuda)


def _build(
    source: Path, network: OnnxSource, options: BuildOptions, progress: BuildProgress
) -> tuple[bytes, LayerReport, BuildLog]:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(options.backend)
    messages: list[Message] = []
    log = BuildLog(messages)
    logger = recording_logger(options.backend, messages)
    builder = trt.Builder(logger)
    # TensorRT 10 has to be asked for strong typing; later versions have no other mode.
    definition = builder.create_network(1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED.value)
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network.model, str(source)):
        reason = parser_reason(parser)
        raise BuildError(
            f"{source}: not parsed: {reason}; give a core that frcrn-export wrote", log.text()
        )
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = progress_monitor(options.backend, progress)
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
        sms=options.targets.sms,
        activation_bytes=log.number("Total Activation Memory"),
        weights_bytes=log.number("Total Weights Memory"),
    )
    if options.refittable:
        weights = weight_map(plan, network.model, logger, options)
        report = msgspec.structs.replace(report, weights=weights)
    return plan, report, log


def _configure(config: "trt.IBuilderConfig", options: BuildOptions) -> None:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(options.backend)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.tf32:  # TensorRT's default, stated explicitly
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.timing_cache is not None:
        load_timing_cache(config, options.timing_cache)
    if options.backend == "tensorrt-rtx":
        _set_capabilities(config, options.targets.sms, load_tensorrt("tensorrt-rtx"))


def _set_capabilities(config: Any, sms: Sequence[int], rtx: Any) -> None:
    """Build for these SMs only, independent of the GPU here. Only TensorRT-RTX has these calls."""
    config.num_compute_capabilities = len(sms)
    for index, sm in enumerate(sms):
        capability = rtx.ComputeCapability.__members__.get(f"SM{sm}")
        if capability is None:
            raise BackendError(
                f"tensorrt-rtx {rtx.__version__} does not know SM {sm_text(sm)}; "
                'run: pip install --upgrade "frcrn-export[rtx]"'
            )
        config.set_compute_capability(capability, index)


def _inspect(plan: bytes, logger: "trt.ILogger", options: BuildOptions) -> str:
    """The layers of an engine whose builder did not log them, from an engine inspector.

    Some releases of classic TensorRT do not log them; they build on the target GPU, so the engine
    opens.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = load_tensorrt(options.backend)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{options.backend} cannot open the engine that it has just built")
    inspector = engine.create_engine_inspector()
    text: str = inspector.get_engine_information(trt.LayerInformationFormat.ONELINE)
    return text


def _bytes(memory: Any) -> bytes:
    """The bytes of an IHostMemory, whose buffer protocol the binding does not declare."""
    return bytes(memory)
