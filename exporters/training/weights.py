"""The weights file of a run."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import save

from frcrn_export.exporters.registry import SAMPLE_RATE
from frcrn_export.exporters.training.run import TrainingRun
from frcrn_export.runtime.bundle.transaction import replace_file


def save_weights(run: TrainingRun, path: Path) -> None:
    """Writes the averaged weights, with their metadata, as safetensors; equal ones as equal bytes.

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
    """The same safetensors file with its metadata in order: the library writes it in a random one.

    Source: the format's description, a little-endian length in eight bytes, then JSON padded with
    spaces to a multiple of eight, then the tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]
