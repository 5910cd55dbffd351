"""PyTorch's own remarks, kept off the user's screen while its exporters run."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# What remarks on a missing torchvision.
_LOGGER = "torch.onnx"
# Where PyTorch warns of itself (`copyreg` copies what it deprecates), and of our own networks:
# their traces are compared with the reference at other lengths.
_MODULES = r"(torch|frcrn_export)\..*|copyreg"


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Within it PyTorch neither warns nor logs below errors; afterwards all is as it was.

    Warnings of the user's own code stay.
    """
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=_MODULES)
            yield
    finally:
        logger.setLevel(level)
