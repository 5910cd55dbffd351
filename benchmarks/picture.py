"""The picture of the README: how many times longer others take, from results/side_by_side.*.json.

    python benchmarks/picture.py

Writes docs/side_by_side.png.
"""

import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmarks`, run as a script too

from benchmarks.table_cells import result  # noqa: E402

PICTURE = ROOT / "docs" / "side_by_side.png"
MODELS = ("frcrn-16k", "wave-unet-16k")
KINDS = {"offline": "recordings", "streaming": "a hop of a stream"}
OURS = "ours"
_WIDE = 10.0


def bars(axis: Any, rows: dict[str, Any], title: str) -> None:
    """One bar for each contender, with its interval; ours have a colour of their own."""
    names = sorted(rows, key=lambda name: -rows[name]["times ours"])
    for place, name in enumerate(names):
        each = rows[name]
        ratio, (low, high) = each["times ours"], each["interval"]
        colour = "tab:blue" if name.startswith(OURS) else "tab:gray"
        axis.barh(place, ratio, color=colour, xerr=[[ratio - low], [high - ratio]], capsize=2)
        axis.text(max(ratio, high) * 1.03, place, f"{ratio:.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.axvline(1.0, color="tab:blue", linewidth=0.8)
    axis.set_title(title, loc="left", fontsize=9)
    most = max(row["times ours"] for row in rows.values())
    if most > _WIDE:
        axis.set_xscale("log")
        axis.set_xlim(0.5, 2.2 * most)
    else:
        axis.set_xlim(0, 1.15 * most)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    figure = Figure(figsize=(11, 6), layout="constrained", dpi=110)
    axes = figure.subplots(len(MODELS), len(KINDS))
    for row, model in zip(axes, MODELS, strict=True):
        found = result(f"side_by_side.{model}.1")
        for axis, (kind, title) in zip(row, KINDS.items(), strict=True):
            bars(axis, found[kind]["rows"], f"{model}, {title}")
    figure.supxlabel("Time over that of ours in float32, one thread (95 % interval)", fontsize=9)
    figure.savefig(PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
