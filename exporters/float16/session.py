"""Sessions of float16 files in which every float16 value is rounded; see rounding.py."""

import onnxruntime

from frcrn_export.exporters.float16.graph import float16_graph
from frcrn_export.exporters.float16.rounding import rounded
from frcrn_export.exporters.graph_file import read_graph
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.sessions.onnx import OnnxSession, session_options

ROUNDED = "onnxruntime-cpu"  # the backend


def rounded_session(bundle: Bundle, entry: FileEntry) -> OnnxSession:
    """A float16 core on the processor, with every float16 value rounded as TensorRT stores it.

    Raises BundleError for a file that cannot be read.
    """
    with read_graph(bundle, entry) as model:
        session = onnxruntime.InferenceSession(
            rounded(float16_graph(model)).SerializeToString(),
            session_options(None),
            providers=["CPUExecutionProvider"],
        )
    return OnnxSession(session, ROUNDED, "cpu", entry)
