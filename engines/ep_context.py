"""EPContext files: ONNX files with which ONNX Runtime opens an engine that is built already.

The whole graph is one node `EPContext`, which names the engine beside it. The execution providers
of TensorRT and TensorRT-RTX read it (`onnx_ctx_model_helper` in ONNX Runtime's sources); other
sessions refuse it with the name of the provider that it needs.
"""

import hashlib
import re
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.manifest import (
    EngineInfo,
    FileEntry,
    TensorrtBackend,
    TensorSpec,
)

if TYPE_CHECKING:
    import onnx

PROVIDERS: dict[TensorrtBackend, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
# The first ONNX Runtime with a provider that reads these files.
_MIN_ONNXRUNTIME: dict[TensorrtBackend, str] = {"tensorrt": "1.17", "tensorrt-rtx": "1.22"}
_OPSET, _IR_VERSION = 17, 8  # every such ONNX Runtime reads them
_AMPERE_AND_LATER = "80+"


def context_name(engine: str) -> str:
    """The name of the EPContext file of an engine."""
    return f"{engine.removesuffix('.engine')}.context.onnx"


def ep_context(engine: FileEntry) -> tuple[bytes, FileEntry]:
    """The EPContext file of an engine in the same folder, and its entry; the same bytes each time.

    Args:
        engine: The engine's entry. An engine without weights has no such file: the providers that
            would refit it write files beside it, or have no option for it.

    Returns:
        The file's content, and its entry with the role `context`.
    """
    info = engine.engine
    assert info is not None
    content = _model(engine, info)
    entry = FileEntry(
        path=context_name(engine.path),
        role="context",
        format="epcontext",
        precision=engine.precision,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        opset=_OPSET,
        ir_version=_IR_VERSION,
        min_onnxruntime=_MIN_ONNXRUNTIME[info.backend],
    )
    return content, entry


def _model(engine: FileEntry, info: EngineInfo) -> bytes:
    from onnx import helper

    sizes = _fixed_sizes(engine, info)
    inputs = [_described(tensor, sizes) for tensor in engine.call_inputs]
    outputs = [_described(tensor, sizes) for tensor in engine.call_outputs]
    node = helper.make_node(
        "EPContext",
        [value.name for value in inputs],
        [value.name for value in outputs],
        name=engine.path,
        domain="com.microsoft",
        main_context=1,
        embed_mode=0,
        ep_cache_context=engine.path,
        source=PROVIDERS[info.backend],
        ep_sdk_version=_sdk_version(info.version),
        hardware_architecture=_architecture(info),
    )
    model = helper.make_model(
        helper.make_graph([node], engine.path, inputs, outputs),
        producer_name="frcrn-export",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)],
    )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _fixed_sizes(engine: FileEntry, info: EngineInfo) -> dict[str, int]:
    """The named axes that have one size in the engine: all of them in engines for streams."""
    profile = info.profile
    axes = zip(engine.inputs[0].shape, profile.min, profile.max, strict=True)
    return {axis: low for axis, low, high in axes if isinstance(axis, str) and low == high}


def _described(tensor: TensorSpec, sizes: dict[str, int]) -> "onnx.ValueInfoProto":
    import numpy as np
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    shape = [sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, kind, shape)


def _sdk_version(version: str) -> str:
    """The builder's version as `getInferLibVersion` gives it: 1.7.1.116 is 10701."""
    major, minor, patch = (*map(int, re.findall(r"\d+", version)), 0, 0, 0)[:3]
    return str(10_000 * major + 100 * minor + patch)


def _architecture(info: EngineInfo) -> str:
    """The compute capability; the providers warn where the GPU's is another, and open the engine.

    They know one for several: that of engines for Ampere and later.
    """
    return _AMPERE_AND_LATER if info.hardware_compatible else ",".join(map(str, info.sms))
