"""Reading the ONNX graph of a bundle's file."""

from collections.abc import Iterator
from contextlib import contextmanager

import onnx

from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.onnx_file import foreign_part
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import make_again
from frcrn_export.runtime.errors import reading


@contextmanager
def read_graph(bundle: Bundle, entry: FileEntry) -> Iterator[onnx.ModelProto]:
    """The graph of an entry. Raises BundleError for what cannot be read, or worked with inside."""
    path = bundle.file(entry)
    remedy = f"run: {make_again(bundle.path, bundle.manifest, entry)}"
    with reading(path, "not an ONNX graph that can be compared", remedy):
        if (foreign := foreign_part(path)) is not None:
            raise ValueError(f"it holds {foreign}")
        yield onnx.load(path)
