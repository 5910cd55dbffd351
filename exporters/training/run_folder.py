"""The files of a run folder: their names, and removing them."""

import tempfile
from pathlib import Path

from frcrn_export.runtime.errors import UserError

STATE_NAME = "last.pt"
CURVE_NAME = "curve.jsonl"


def weights_path(run_dir: Path, model: str) -> Path:
    """Where the best weights of a run are kept."""
    return run_dir / f"{model}.safetensors"


def check_writable(run_dir: Path) -> None:
    """Raises UserError where nothing can be written to `run_dir`, which is not made yet."""
    nearest = next(folder for folder in (run_dir, *run_dir.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"{run_dir} cannot be written ({error.strerror}): choose another folder with -o"
        ) from error


def clear(run_dir: Path, model: str) -> None:
    """Removes all that a run of `model` has left, the state first: half of it is never resumed."""
    weights = weights_path(run_dir, model).name
    for pattern in (STATE_NAME, weights, CURVE_NAME, "curve.png", "events.out.tfevents.*"):
        for path in run_dir.glob(pattern):
            path.unlink()
