"""TensorBoard events of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def tensorboard(run_dir: Path, step: int) -> Iterator[Any]:
    """A SummaryWriter that goes on after `step`, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield None
        return
    with SummaryWriter(str(run_dir), purge_step=step or None) as writer:
        yield writer
