"""What calibration ends with: the report, and the file with it in the bundle."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from frcrn_export.calibration.int8.forms import FORMS
from frcrn_export.calibration.int8.plan import Plan
from frcrn_export.calibration.int8.report import (
    LayerRow,
    Report,
    SearchPoint,
    TensorRange,
    WorstClip,
    report_name,
    write_report,
)
from frcrn_export.calibration.int8.scores import Judge, Quality
from frcrn_export.calibration.int8.search import Search
from frcrn_export.calibration.int8.speed import Speed
from frcrn_export.calibration.int8.thresholds import value_range
from frcrn_export.calibration.int8.work import multiplications
from frcrn_export.runtime.bundle import sha256_of
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.manifest import (
    MANIFEST_NAME,
    FileEntry,
    GateResult,
    QuantizationInfo,
    parse_manifest,
)
from frcrn_export.runtime.staging import staged_bundle

_GIVEN_BACK = "given back by the search"


def make_report(
    plan: Plan,
    judge: Judge,
    search: Search,
    qualities: Mapping[str, Quality],
    speed: Speed | None,
    gates: Sequence[GateResult],
) -> Report:
    """Everything about the file that the search found; the last gate is that of speed."""
    settings, manifest = plan.settings, plan.bundle.manifest
    total = sum(multiplications(plan.source.model).values())
    shares = {layer.name: layer.multiplications / total for layer in plan.layers}

    def share(layers: Collection[str]) -> float:
        return sum(shares[name] for name in sorted(layers))

    return Report(
        file=plan.file,
        number=settings.number,
        model=manifest.model,
        weights=manifest.weights,
        quantization=QuantizationInfo(
            consumer=settings.consumer,
            method=settings.method,
            clips=len(plan.clips.clips),
            clips_sha256=plan.clips.sha256,
            seed=settings.seed,
            layers=len(search.layers),
            candidates=len(plan.layers),
            share=share(search.layers),
            gates=tuple(gates),
            kept_slower=gates[-1].passed is False,
            report=report_name(plan.file),
        ),
        noisy=judge.noisy,
        qualities=qualities,
        speed=speed,
        layers=[
            LayerRow(
                layer.name,
                layer.name in search.layers,
                shares[layer.name],
                search.damages.get(layer.name),
                "" if layer.name in search.layers else _GIVEN_BACK,
            )
            for layer in plan.layers
        ],
        ranges=_tensor_ranges(plan, search.layers),
        search=[
            SearchPoint(
                share(point.layers),
                point.quality.mean_core_snr_db,
                point.quality.drop(judge.float32, "pesq"),
                point.passed,
                point.layers == search.layers,
            )
            for point in search.points
        ],
        warnings=plan.clips.warnings,
    )


def _tensor_ranges(plan: Plan, layers: Collection[str]) -> list[TensorRange]:
    symmetric = FORMS[plan.settings.consumer].symmetric
    return [
        TensorRange(
            tensor,
            plan.ranges[tensor].low,
            plan.ranges[tensor].high,
            *value_range(plan.ranges[tensor], plan.settings.method, symmetric),
        )
        for tensor in plan.tensors(layers)
    ]


def add_to_bundle(plan: Plan, content: bytes, report: Report, worst: WorstClip) -> None:
    """Write the file and its report into the bundle, all or nothing. Raises UserError."""
    bundle, source = plan.bundle, plan.source
    with staged_bundle(bundle.path, force=True, keep=True) as folder:
        # Since the work began another command may have added files; not others in their place.
        present = parse_manifest((folder / MANIFEST_NAME).read_bytes())
        if source.float32 not in present.files:
            raise UserError(f"{bundle.path}: changed while it was used; run the command again")
        path = folder / report.file
        path.write_bytes(content)
        entry = FileEntry(
            path=report.file,
            role=source.float32.role,
            format="onnx",
            precision=report.number,
            sha256=sha256_of(path),
            bytes=len(content),
            inputs=source.entry.inputs,
            outputs=source.entry.outputs,
            streaming=source.entry.streaming,
            quantization=report.quantization,
        )
        added = (entry, *write_report(folder, report, worst))
        paths = {each.path for each in added}
        others = (each for each in present.files if each.path not in paths)
        manifest = msgspec.structs.replace(
            present,
            files=(*others, *added),
            parity=tuple(r for r in present.parity if r.artifact != report.file),
        )
        (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
