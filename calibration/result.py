"""The result of calibration: the report, and the file and report in the bundle."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import onnx

from frcrn_export.calibration.graph.layers import Reason, int8_layers, multiplications
from frcrn_export.calibration.graph.stream_states import with_states_of
from frcrn_export.calibration.int8_report import (
    LayerRow,
    Report,
    SearchPoint,
    TensorRange,
    WorstClip,
    report_name,
)
from frcrn_export.calibration.int8_report_json import quality_json
from frcrn_export.calibration.int8_report_page import draw, markdown
from frcrn_export.calibration.plan import Plan
from frcrn_export.calibration.quality_scores import Evaluator, Quality
from frcrn_export.calibration.search import Search
from frcrn_export.calibration.speed import Speed
from frcrn_export.exporters.graph_metadata import with_metadata
from frcrn_export.exporters.onnx_versions import with_versions
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import FileEntry, Format, GateResult, QuantizationInfo
from frcrn_export.runtime.bundle.transaction import transaction

_FELL_BACK = "the search lets it fall back to float"
_REASONS: dict[Reason, str] = {
    "first": "reads the input itself",
    "last": "makes the output directly",
    "mask": "makes the mask",
    "gains": "makes gains of means",
    "narrow": "fewer than 16 channels",
}


def make_report(
    plan: Plan,
    evaluator: Evaluator,
    search: Search,
    qualities: Mapping[str, Quality],
    speed: Speed | None,
    gates: Sequence[GateResult],
) -> Report:
    """The report on the file that the search found; the last gate is that of speed."""
    settings, manifest = plan.settings, plan.bundle.manifest
    total = sum(multiplications(plan.source.model).values())
    layers = int8_layers(plan.source.model, settings.target)
    shares = {layer.name: layer.multiplications / total for layer in layers}
    in_8_bits = plan.quantizer.layers(search.names)

    def share(names: Collection[str]) -> float:
        return sum(shares[name] for name in sorted(plan.quantizer.layers(names)))

    return Report(
        file=plan.file,
        precision=settings.precision,
        model=manifest.model,
        weights=manifest.weights,
        quantization=QuantizationInfo(
            target=settings.target,
            method=settings.method,
            clips=len(plan.clips.clips),
            clips_sha256=plan.clips.sha256,
            seed=settings.seed,
            layers=len(in_8_bits),
            candidates=sum(layer.kept is None for layer in layers),
            share=share(search.names),
            gates=tuple(gates),
            kept_slower=gates[-1].passed is False,
            report=report_name(plan.file),
        ),
        noisy=evaluator.noisy,
        qualities=qualities,
        speed=speed,
        layers=[
            LayerRow(
                layer.name,
                layer.name in in_8_bits,
                shares[layer.name],
                search.sensitivities.get(layer.name),
                "" if layer.name in in_8_bits else _reason(layer.kept),
            )
            for layer in layers
        ],
        ranges=_tensor_ranges(plan, search),
        search=[
            SearchPoint(
                share(point.names),
                point.quality.mean_core_snr_db,
                point.quality.drop(evaluator.float32, "pesq"),
                point.passed,
                point.names == search.names,
            )
            for point in search.points
        ],
        warnings=plan.clips.warnings,
    )


def _reason(kept: Reason | None) -> str:
    return _FELL_BACK if kept is None else _REASONS[kept]


def _tensor_ranges(plan: Plan, search: Search) -> list[TensorRange]:
    return [
        TensorRange(each.name, *each.seen, *each.chosen, search.sensitivities.get(each.name))
        for each in plan.quantizer.covered(search.names, plan.ranges)
    ]


def add_to_bundle(plan: Plan, content: bytes, report: Report, worst: WorstClip) -> None:
    """Write the file and its report into the bundle, all or nothing. Raises UserError."""
    bundle, source = plan.bundle, plan.source
    entry = msgspec.structs.replace(
        file_entry(
            content,
            report.file,
            source.float32.role,
            "onnx",
            report.precision,
            source.entry.inputs,
            source.entry.outputs,
        ),
        streaming=with_states_of(content, source.entry).streaming,
        quantization=report.quantization,
        input_limit=source.entry.input_limit,
    )
    entry = with_versions(entry, onnx.load_from_string(content))
    content, entry = with_metadata(content, bundle.manifest, entry)
    with transaction(bundle.path) as work:
        work.write(content, entry)
        for made, described in report_files(report, worst):
            work.write(made, described)
        work.add(bundle.manifest, needs=(source.float32,), force=True)


def report_files(report: Report, worst: WorstClip) -> list[tuple[bytes, FileEntry]]:
    """A report's files, with their entries for the manifest.

    Raises UserError where matplotlib is missing.
    """
    images = {report_name(report.file, f"{kind}.png"): png for kind, png in draw(report, worst)}
    files: dict[str, tuple[Format, bytes]] = {
        report_name(report.file): ("json", quality_json(report)),
        report_name(report.file, "quality.md"): ("markdown", markdown(report, images).encode()),
        **{name: ("png", png) for name, png in images.items()},
    }
    return [
        (content, file_entry(content, name, "report", format, report.precision))
        for name, (format, content) in files.items()
    ]
