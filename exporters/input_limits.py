"""How loud an input of a file in lower precision may be: what was verified, no more.

Float16 ends at 65504, and sums inside a network reach that long before its input does.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np

from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.verify.parity import Case, check_bundle, is_loud, read_cases

logger = logging.getLogger(__name__)


def with_input_limits(bundle: Bundle) -> Iterator[FileEntry]:
    """The float16 files of a bundle, each with its limit.

    It is the largest value in the loudest case of the parity vectors at which the file holds its
    floor: at least that of the least loud one, which it must hold.
    """
    for entry in bundle.manifest.files:
        if entry.format == "onnx" and entry.precision == "fp16":
            yield msgspec.structs.replace(entry, input_limit=_limit(bundle, entry))


def _limit(bundle: Bundle, entry: FileEntry) -> float | None:
    stage = "streaming" if entry.streaming else "core"
    cases = [case for case in read_cases(bundle) if case.stage == stage and is_loud(case)]
    limits = sorted((_largest(case), case.name) for case in cases)
    for limit, name in reversed(limits[1:]):
        bounded = msgspec.structs.replace(entry, input_limit=limit)
        vectors = (each for each in bundle.manifest.files if each.role == "parity")
        manifest = msgspec.structs.replace(bundle.manifest, files=(bounded, *vectors))
        results = check_bundle(replace(bundle, manifest=manifest), only=f"{stage}.{name}")
        if all(result.passed for result in results):
            return limit
        logger.info("%s: inputs up to %.3g are too large for float16", entry.path, limit)
    return limits[0][0] if limits else None  # vectors of an earlier version have no such case


def _largest(case: Case) -> float:
    return float(np.abs(case.input).max())
