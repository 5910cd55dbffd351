"""Tables of the default model's quality: in short, every clip, and the means of groups."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from benchmarks.table_cells import result, table

Value = float | None


def default_model() -> str:
    found = result("default_model")
    groups, clean = _bundle(found)["groups"], found["clean_in_si_sdr_db"]

    def gain(group: str, metric: str) -> str:
        return f"{groups[group][metric]['gain']['mean']:+.2f}"

    megabytes = found["checkpoint_bytes"] / 1e6
    rows = (
        (
            "SI-SDR on `mix_*`, `vbd_*`: mean gain",
            f"{gain('mix', 'si_sdr')} dB, {gain('vbd', 'si_sdr')} dB",
            "+5.5 dB, +8 dB",
        ),
        ("PESQ-WB, all: mean gain", gain("all", "pesq"), "+0.25"),
        (
            "clean speech in: SI-SDR, mean (worst)",
            f"{clean['mean']:.1f} dB ({clean['least']:.1f} dB)",
            "20 dB",
        ),
        ("silence in: the largest sample out", f"{found['silence_in_peak']:g}", "0"),
        (
            "size, real-time factor on one thread",
            f"{megabytes:.1f} MB, {found['real_time_factor_one_thread']:.4f}",
            "6 MB, 0.05",
        ),
    )
    return table(("", ">measured", ">asked"), rows)


def quality_clips() -> str:
    found = result("default_model")
    metrics = found["evaluation"]["metrics"]
    rows = []
    for clip in _bundle(found)["clips"]:
        row = [clip["name"]]
        for name, metric in metrics.items():
            row.append(_cell(clip[name]["denoised"], metric))
            row.append(_cell(clip[name]["gain"], metric, "+"))
        rows.append(row)
    titles = (title for metric in metrics.values() for title in (f">{_heading(metric)}", ">Gain"))
    return table(("Clip", *titles), rows)


def quality_means() -> str:
    """With their 95 % confidence intervals."""
    found = result("default_model")
    rows = []
    for group, each in _bundle(found)["groups"].items():
        for name, metric in found["evaluation"]["metrics"].items():
            cells = (
                _mean(each[name][what], metric, "+" * (what == "gain"))
                for what in ("noisy", "denoised", "gain")
            )
            rows.append((group, str(each["clips"]), _heading(metric), *cells))
    return table(("Group", ">Clips", "Metric", ">Noisy", ">Denoised", ">Gain"), rows)


def _bundle(found: dict[str, Any]) -> dict[str, Any]:
    (bundle,) = found["evaluation"]["bundles"]
    measured: dict[str, Any] = bundle
    return measured


def _heading(metric: dict[str, Any]) -> str:
    return f"{metric['title']} ({metric['unit']})" if metric["unit"] else str(metric["title"])


def _mean(value: dict[str, Value], metric: dict[str, Any], sign: str) -> str:
    margin = value["margin"]
    around = "" if margin is None else f" ± {_cell(margin, metric)}"
    return _cell(value["mean"], metric, sign) + around


def _cell(value: Value, metric: dict[str, Any], sign: str = "") -> str:
    """Rounded from the four digits of the result, halves upwards."""
    if value is None:
        return "-"
    digits = Decimal(1).scaleb(-int(metric["digits"]))
    return f"{Decimal(str(value)).quantize(digits, ROUND_HALF_UP):{sign}}"


TABLES = (default_model, quality_clips, quality_means)
