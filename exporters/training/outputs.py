"""The outputs of a run: folder, weights, learning curve, TensorBoard events."""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save

from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.exporters.training_task import SAMPLE_RATE
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.drawing import require_matplotlib
from frcrn_export.runtime.errors import UserError

STATE_NAME = "last.pt"
CURVE_NAME = "curve.jsonl"


def weights_path(run_dir: Path, model: str) -> Path:
    """The path of a run's best weights."""
    return run_dir / f"{model}.safetensors"


def check_writable(run_dir: Path) -> None:
    """Raise UserError where `run_dir`, which may not exist yet, is not writable."""
    nearest = next(folder for folder in (run_dir, *run_dir.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"{run_dir} cannot be written ({error.strerror}): choose another folder with -o"
        ) from error


def clear(run_dir: Path, model: str) -> None:
    """Remove the files of a run of `model`, the state first, so that no partial run is resumed."""
    weights = weights_path(run_dir, model).name
    for pattern in (STATE_NAME, weights, CURVE_NAME, "curve.png", "events.out.tfevents.*"):
        for path in run_dir.glob(pattern):
            path.unlink()


@contextmanager
def tensorboard(run_dir: Path, step: int) -> Iterator[Any]:
    """A SummaryWriter that continues after `step`, or None without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield None
        return
    with SummaryWriter(str(run_dir), purge_step=step or None) as writer:
        yield writer


def save_weights(run: TrainingRun, path: Path) -> None:
    """Write the averaged weights and metadata as safetensors; equal weights give equal bytes.

    The metadata has the configuration of the network, and as JSON the `recipe` of the run.
    """
    tensors = run.task.weights(run.average)
    metadata = {
        **run.metadata(),
        "model": run.task.model,
        "sample_rate": str(SAMPLE_RATE),
        "level": run.task.level,
        "training_steps": str(run.step),
        "recipe": json.dumps(_recipe(run), sort_keys=True),
    }
    data = save({name: value.contiguous().cpu() for name, value in tensors.items()}, metadata)
    replace_file(path, _sorted_header(data))


def _recipe(run: TrainingRun) -> dict[str, object]:
    recipe = asdict(run.recipe)
    named = ("seed", "batch", "schedule", "learning_rate", "steps", "minutes")
    return {
        **{name: recipe[name] for name in named},
        "seconds": run.recipe.mix.seconds,
        "held_out": {kind: len(sources) for kind, sources in run.held_out.items()},
        "frcrn_export": version("frcrn-export"),
    }


def _sorted_header(data: bytes) -> bytes:
    """The same safetensors file with sorted metadata: the library writes it in random order.

    Source: the format's description, a little-endian length in eight bytes, then JSON padded with
    spaces to a multiple of eight, then the tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


@dataclass(frozen=True)
class CurvePoint:
    """A validation; None where not finite. `loss` is the mean over the steps before it."""

    step: int
    seconds: float
    loss: float | None
    learning_rate: float
    validation: float | None  # mean SI-SNR improvement in dB
    best: float | None


def append_point(run_dir: Path, point: CurvePoint) -> None:
    """Append a line to the run's curve."""
    with (run_dir / CURVE_NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def read_curve(run_dir: Path) -> list[CurvePoint]:
    """The points of a run so far; an incomplete last line is ignored."""
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
    """Remove the points after `step`, from which a run resumes."""
    kept = [point for point in read_curve(run_dir) if point.step <= step]
    text = "".join(json.dumps(asdict(point)) + "\n" for point in kept)
    replace_file(run_dir / CURVE_NAME, text.encode())


def plot_curve(run_dir: Path, png: Path) -> None:
    """Draw loss, validation and learning rate over the steps into a PNG file.

    Raises UserError where there is no curve, or no matplotlib.
    """
    points = read_curve(run_dir)
    if not points:
        raise UserError(f"{run_dir} holds no {CURVE_NAME} with a validation; train there first")
    require_matplotlib("a curve")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
