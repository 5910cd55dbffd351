"""The course of a run: a line of JSON a validation, and a picture of them."""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from frcrn_export.exporters.training.run_folder import CURVE_NAME
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.errors import UserError


@dataclass(frozen=True)
class CurvePoint:
    """A validation; None is what was not finite. `loss` is the mean over the steps before it."""

    step: int
    seconds: float
    loss: float | None
    learning_rate: float
    validation: float | None  # mean SI-SNR improvement in dB
    best: float | None


def append_point(run_dir: Path, point: CurvePoint) -> None:
    """Adds a line to the run's curve."""
    with (run_dir / CURVE_NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def read_curve(run_dir: Path) -> list[CurvePoint]:
    """The points of a run so far, [] where there are none; a half-written last line is left out."""
    path = run_dir / CURVE_NAME
    if not path.is_file():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(CurvePoint(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return points


def cut_curve(run_dir: Path, step: int) -> None:
    """Forgets what came after `step`, the state that a run goes on from."""
    kept = [point for point in read_curve(run_dir) if point.step <= step]
    text = "".join(json.dumps(asdict(point)) + "\n" for point in kept)
    replace_file(run_dir / CURVE_NAME, text.encode())


def plot_curve(run_dir: Path, png: Path) -> None:
    """Draws the loss, the validation and the learning rate over the steps into a PNG file.

    Raises UserError where there is no curve, or no matplotlib.
    """
    points = read_curve(run_dir)
    if not points:
        raise UserError(f"{run_dir} holds no {CURVE_NAME} with a validation; train there first")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            'a curve needs matplotlib; run: pip install "frcrn-export[plot]"'
        ) from error
    figure = Figure(figsize=(9, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    validation, loss, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    validated = [(p.validation, p.step) for p in points if p.validation is not None]
    validation.plot([step for _, step in validated], [height for height, _ in validated])
    if validated:
        best, at = max(validated)
        validation.plot(at, best, "o", label=f"best: {best:+.2f} dB")
        validation.legend(loc="lower right")
    validation.set_ylabel("SI-SDR improvement (dB)")
    losses = [(p.loss, p.step) for p in points if p.loss is not None]
    loss.plot([step for _, step in losses], [height for height, _ in losses], color="tab:orange")
    loss.set_ylabel("Loss")
    rate.plot([p.step for p in points], [p.learning_rate for p in points], color="tab:green")
    rate.set_ylabel("Learning rate")
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.set_xlabel("Step")
    for axis in (validation, loss, rate):
        axis.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    replace_file(png, picture.getvalue())
