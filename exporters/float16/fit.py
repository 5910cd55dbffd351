"""Float16 files that hold their floor: layers fall back to float32 until they do."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import onnx

from frcrn_export.exporters.artifacts import Artifact, float32_form
from frcrn_export.exporters.float16.search import Sensitivity, find_kept, sensitivity_case
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.bundle.manifest import FileEntry, Float32Layers, ParityResult
from frcrn_export.runtime.errors import CheckFailed
from frcrn_export.runtime.verify.parity import Case, floor_of

logger = logging.getLogger(__name__)

# Above the floor: kernels of a GPU round in other places than this check does.
SPARE_DB = 3.0

Progress = Callable[[str], None]
Results = tuple[ParityResult, ...]


class Float16Missed(CheckFailed):
    """No layers in float32 help. Has the parity of the file, and the layers by sensitivity."""

    def __init__(
        self, message: str, results: Results, sensitivities: Sequence[Sensitivity]
    ) -> None:
        super().__init__(message)
        self.results, self.sensitivities = results, sensitivities


@dataclass(frozen=True)
class Fitted:
    """A float16 file with its manifest entry and its parity."""

    content: bytes
    entry: FileEntry
    results: Results


def _spare_db(result: ParityResult) -> float:
    return result.snr_db - result.floor_db


def fit_float16(
    row: Artifact,
    made: Fitted,
    forms: StreamingForms,
    cases: Sequence[Case],
    parity: Callable[[bytes, FileEntry], Iterable[ParityResult]],
    progress: Progress = lambda step: None,
) -> Fitted:
    """The file; where it misses its floor, with as many layers in float32 as give 3 dB to spare.

    `parity` compares a file with the reference, case by case. Raises Float16Missed where it misses
    its floor whatever layers are in float32.
    """
    target = floor_of(made.entry) + SPARE_DB
    worst = min(made.results, key=_spare_db)
    if worst.passed:
        return made
    progress(f"{row.path} has {worst.snr_db:.1f} dB: looking for layers to keep in float32")
    logger.info("%s: %s has %.1f dB", row.path, worst.case, worst.snr_db)
    half = onnx.load_from_string(made.content)
    passed: dict[str, Fitted] = {}

    def described(model: onnx.ModelProto) -> tuple[bytes, FileEntry]:
        content, entry = row.onnx(model)
        return content, msgspec.structs.replace(made.entry, sha256=entry.sha256, bytes=entry.bytes)

    def passes(model: onnx.ModelProto) -> bool:
        content, entry = described(model)
        results = []
        for result in parity(content, entry):
            results.append(result)
            if _spare_db(result) < SPARE_DB:
                return False
        passed[entry.sha256] = Fitted(content, entry, tuple(results))
        return True

    stage = "core" if row.role == "core" else "streaming"
    found = find_kept(
        half,
        float32_form(row, forms),
        made.entry,
        sensitivity_case(cases, stage),
        target,
        passes,
        progress,
    )
    if found.model is None:
        missed = [result for result in made.results if not result.passed]
        raise Float16Missed(
            f"{row.path}: {len(missed)} of {len(made.results)} comparisons missed, the worst is "
            f"{worst.case}: {worst.snr_db:.1f} dB, at least {worst.floor_db:g} dB needed; float32 "
            "in its layers does not help: leave out --fp16, or lower --fp16-floor",
            made.results,
            found.sensitivities,
        )
    fitted = passed[described(found.model)[1].sha256]
    kept = Float32Layers(
        layers=tuple(found.kept),
        candidates=len(found.sensitivities),
        added_bytes=len(fitted.content) - len(made.content),
    )
    logger.info("%s: %d of %d layers stay in float32", row.path, len(kept.layers), kept.candidates)
    entry = msgspec.structs.replace(fitted.entry, float32_layers=kept)
    return Fitted(fitted.content, entry, fitted.results)
