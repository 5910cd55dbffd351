"""The report on an INT8 or FP8 file for people: tables, a Markdown page of them and pictures."""

from collections.abc import Iterable, Iterator, Mapping

from frcrn_export.calibration.int8_report import Report
from frcrn_export.calibration.quality.report import markdown_table
from frcrn_export.calibration.quality.tables import METRICS as TITLES
from frcrn_export.calibration.quality.tables import Table
from frcrn_export.calibration.quality_scores import METRICS
from frcrn_export.runtime.commands.gate_words import gate_words

_NAMES = {"noisy": "noisy", "fp32": "FP32", "fp16": "FP16", "int8": "INT8", "fp8": "FP8"}
_CAPTIONS = {
    "worst": "The clip with the least core SNR",
    "ranges": "Ranges of activations",
    "search": "Quality against the share in 8 bits",
}


def markdown(report: Report, images: Iterable[str] = ()) -> str:
    """The whole page; `images` are the names of pictures beside it."""
    text = "\n\n".join((f"# {report.file}", *facts(report), *_notes(report))) + "\n"
    text += "".join(markdown_table(table) for table in tables(report))
    return text + "".join(f"\n![{_CAPTIONS[name.split('.')[-2]]}]({name})\n" for name in images)


def facts(report: Report) -> Iterator[str]:
    """How the file was made, and how fast it is."""
    made, weights = report.quantization, report.weights
    yield f"{report.model}, weights: {weights.name} ({weights.source})."
    yield (
        f"{made.layers} of {made.candidates} layers that gain by it compute in "
        f"{_NAMES[report.number]}, {100 * made.share:.1f} % of the multiplications. Ranges: "
        f"{made.method}, of {made.clips} recordings (sha256 {made.clips_sha256[:16]}, "
        f"seed {made.seed})."
    )
    if speed := report.speed:
        threads = f"{speed.threads} threads" if speed.threads else "all threads"
        yield (
            f"{speed.seconds:g} s of audio through the core: {speed.float32_ms:.2f} ms in float32, "
            f"{speed.int8_ms:.2f} ms in INT8, {speed.ratio:.2f} times as fast (quartiles "
            f"{speed.low:.2f} to {speed.high:.2f} of {speed.repetitions} repetitions, {threads})."
        )
    else:
        yield "Its speed was not measured."


def tables(report: Report) -> list[Table]:
    """Gates, clips, layers, and what has no value."""
    found = [_gate_table(report), _clip_table(report)]
    if report.layers:
        found.append(_layer_table(report))
    if rows := tuple(_missing(report)):
        found.append(Table("Without a value", ("Clip", "Of", "Metric", "Because"), rows))
    return found


def _notes(report: Report) -> Iterator[str]:
    if report.weights.source == "random":
        yield (
            "Random weights: the output is no speech, so PESQ, SI-SDR and STOI of it say nothing."
        )
    if report.quantization.kept_slower:
        yield "It is not faster, and was kept by request (`--allow-slower`)."
    yield from report.warnings


def _gate_table(report: Report) -> Table:
    gates = [gate_words(gate) for gate in report.quantization.gates]
    rows = tuple((words.what, words.value, words.limit, words.verdict) for words in gates)
    return Table("Gates", ("Gate", ">Value", "Limit", "Verdict"), rows)


def _clip_table(report: Report) -> Table:
    rows = []
    for index, clip in enumerate(report.int8.clips):
        snrs = report.core_snrs(index)
        for kind, scores in report.scores(index).items():
            rows.append(_clip_row(clip.name, kind, scores.values, snrs.get(kind)))
    for kind, values in report.means().items():
        rows.append(_clip_row("mean", kind, values, values.get("core_snr_db")))
    headings = (f">{TITLES[metric].heading}" for metric in METRICS)
    return Table("Held-out clips", ("Clip", "Of", *headings, ">Core SNR (dB)"), tuple(rows))


def _clip_row(
    clip: str, kind: str, values: Mapping[str, float | None], core_snr: float | None
) -> tuple[str, ...]:
    cells = (_cell(values.get(metric), TITLES[metric].digits) for metric in METRICS)
    return clip, _NAMES[kind], *cells, _cell(core_snr)


def _layer_table(report: Report) -> Table:
    rows = tuple(
        (
            layer.name,
            _NAMES[report.number] if layer.int8 else "kept",
            f"{100 * layer.share:.2f}",
            _cell(layer.damage_db),
            layer.reason,
        )
        for layer in report.layers
    )
    alone = f">Core SNR alone in {_NAMES[report.number]} (dB)"
    columns = ("Layer", "Computes", ">Share (%)", alone, "Kept because")
    return Table("Layers", columns, rows)


def _missing(report: Report) -> Iterator[tuple[str, ...]]:
    for index, clip in enumerate(report.int8.clips):
        for kind, scores in report.scores(index).items():
            for metric, reason in scores.missing.items():
                yield clip.name, _NAMES[kind], TITLES[metric].title, reason


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
