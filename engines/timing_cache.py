"""The timing cache of classic TensorRT: kernel timings kept between builds."""

from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt


def load_timing_cache(config: "trt.IBuilderConfig", path: Path) -> None:
    """Give the builder the cache in a file; an empty one if there is no file yet.

    Raises UserError for a file that cannot be read, or that another GPU or release wrote.
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
