"""Where along the network an engine leaves float32: built again with its layers as outputs.

An engine gives no tensor from its middle, so the same ONNX file is built once more, by the same
backend and with the same options, with the outputs of its layers as further outputs.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import onnx
from onnx import TensorProto, helper

from frcrn_export.engines.build import OnnxSource, build_network
from frcrn_export.engines.layer_engine import LayerEngine
from frcrn_export.engines.options import BuildOptions
from frcrn_export.engines.targets import find_targets
from frcrn_export.exporters.graph_edits import copy_of
from frcrn_export.exporters.graph_file import read_graph
from frcrn_export.exporters.layer_parity import (
    Graph,
    closest_reference,
    layer_report,
    longest_case,
    run_with_outputs,
)
from frcrn_export.exporters.layer_runs import Runs
from frcrn_export.runtime.bundle.manifest import (
    FileEntry,
    Precision,
    Profile,
    TensorrtBackend,
    TensorSpec,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import build_again
from frcrn_export.runtime.errors import BundleError, UserError
from frcrn_export.runtime.sessions.tensorrt_engine import Engine, load_engine, source_of
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.layers import LayerReport
from frcrn_export.runtime.verify.parity import Case, read_cases

_AS_FLOAT = ":float32"  # behind the name of a tensor: the output with its values
_REMARK = (
    "built again for this input, with its layers as outputs; kernels and fusions may differ from "
    "those of the file"
)


def check_engine_layers(
    bundle: Bundle,
    backend: TensorrtBackend,
    precision: Precision | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> list[LayerReport]:
    """Compare the engines of a bundle with the float32 network, layer by layer, on this GPU.

    Args:
        bundle: A bundle with engines of `backend`, and with the ONNX files they were built from.
        backend: The backend whose engines are compared.
        precision: Only engines of this precision.
        progress: Called with what is done next, in words.

    Returns:
        A report for each engine. The input is the longest of the parity vectors; the float32
        network runs in ONNX Runtime on the processor.

    Raises:
        UserError: There is no such engine.
        BackendError: The engine cannot be opened here, for the reason in the message.
        BundleError: A file cannot be read, or the engine's ONNX file is no longer there.
        BuildError: The builder failed.
    """
    engines = [
        entry
        for entry in bundle.manifest.files
        if entry.engine is not None
        and entry.engine.backend == backend
        and precision in (None, entry.precision)
    ]
    if not engines:
        wanted = f"{precision} engine" if precision else "engine"
        raise UserError(
            f"{bundle.path}: no {wanted} for {backend} to compare layer by layer; run: "
            f"frcrn-export trt {quoted(bundle.path)} --{precision or 'fp16'} --backend {backend} "
            "--gpu auto"
        )
    cases = read_cases(bundle)
    reports = []
    for entry in engines:
        load_engine(bundle, entry)  # says at once why it cannot run here
        progress(f"building {entry.path} again with its layers as outputs")
        reports.append(_check(bundle, entry, longest_case(bundle, entry, cases)))
    return reports


def _check(bundle: Bundle, entry: FileEntry, case: Case) -> LayerReport:
    source = _source(bundle, entry)
    with read_graph(bundle, source) as model:
        graph = Graph(f"{entry.path} on its backend", model, entry)
        reference, matches = closest_reference(bundle, graph)
        tensors = [match.output for match in matches.matches]
        engine = _engine_with(bundle, entry, model, tensors, _shape(entry, case))
        runs = (
            run_with_outputs(reference, [match.expected for match in matches.matches]),
            Runs(entry, LayerEngine(engine, {name: name + _AS_FLOAT for name in tensors}).run),
        )
        remark = f"{_REMARK} ({engine.gpu.name})"
        return layer_report(graph, reference, matches, runs, case, remark)


def _source(bundle: Bundle, entry: FileEntry) -> FileEntry:
    """The ONNX file an engine was built from. Raises BundleError where it was replaced since."""
    info = entry.engine
    assert info is not None
    if (source := source_of(bundle.manifest, info)) is not None:
        return source
    raise BundleError(
        f"{entry.path}: the {info.source} it was built from is no longer in {bundle.path}; run: "
        f"{build_again(bundle.path, entry)}"
    )


def _shape(entry: FileEntry, case: Case) -> tuple[int, ...]:
    """The input's shape in a run on a case, which is one utterance or one stream."""
    frames = case.input.shape[-1] if entry.streaming is None else entry.streaming.chunk
    return (*case.input.shape[:-1], frames)


def _engine_with(
    bundle: Bundle,
    entry: FileEntry,
    model: onnx.ModelProto,
    tensors: Sequence[str],
    shape: tuple[int, ...],
) -> Engine:
    """The engine once more, for one shape and this GPU, with further outputs."""
    info = entry.engine
    assert info is not None
    given, *states = entry.call_inputs
    targets = find_targets("auto")
    profile = Profile(min=shape, opt=shape, max=shape)
    options = BuildOptions(
        info.backend,
        targets,
        profile,
        states=tuple(states),
        workspace_bytes=info.workspace_bytes,
        hardware_compatible=info.hardware_compatible,
        tf32=info.tf32,
    )
    content = with_float_outputs(model, tensors).SerializeToString()
    path = bundle.path / info.source
    built = build_network(path, OnnxSource(content, given.name, {}), options)
    outputs = tuple(
        TensorSpec(name=name + _AS_FLOAT, dtype="float32", shape=("batch",))
        for name in dict.fromkeys(tensors)
    )
    described = msgspec.structs.replace(
        entry,
        sha256=hashlib.sha256(built.plan).hexdigest(),
        outputs=(*entry.outputs, *outputs),
        engine=msgspec.structs.replace(
            info,
            version=built.version,
            cuda=built.cuda,
            sms=targets.sms,
            profile=profile,
            stripped=False,
        ),
    )
    return load_engine(bundle, described, built.plan)


def with_float_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy that also gives these tensors as float32, named as they are with ":float32" behind."""
    copied = copy_of(model)
    for name in dict.fromkeys(tensors):
        output = name + _AS_FLOAT
        copied.graph.node.append(
            helper.make_node("Cast", [name], [output], output, to=TensorProto.FLOAT)
        )
        copied.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return copied
