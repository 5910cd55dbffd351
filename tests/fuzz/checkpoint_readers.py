"""Checkpoints, and the configuration beside them."""

import io
import json
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np

from frcrn_export.exporters.loading import load_model, weights_at_hand
from frcrn_export.runtime.errors import FrcrnExportError
from tests.fuzz.json_mutations import JSON
from tests.fuzz.reader import command


def _states() -> dict[str, "object"]:
    """State dicts as trainers save them, of a known network and of none."""
    import torch

    from frcrn_export.exporters.recognition import load_checkpoint

    path = weights_at_hand("wave-unet-16k")
    assert path is not None
    state = load_checkpoint(path).state
    small = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(1).expand(3)}
    return {
        "plain": state,
        "nested": {"model": {f"net.{k}": v for k, v in state.items()}, "config": {"causal": True}},
        "other": {"state_dict": small, "epoch": 3, "best": np.float64(1.5), "args": {"lr": 1e-3}},
    }


def checkpoints(folder: Path) -> list[bytes]:
    import torch
    from safetensors.torch import save

    found = []
    for state in _states().values():
        for is_zip in (True, False):
            stream = io.BytesIO()
            torch.save(state, stream, _use_new_zipfile_serialization=is_zip)
            found.append(stream.getvalue())
    tensors = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}
    return [*found, save(tensors, {"strides": "[4, 4]"}), save(tensors)]


def change_safetensors(random: Random, data: bytes) -> bytes:
    """Another header, of any length."""
    size = int.from_bytes(data[:8], "little")
    header = random.choice(JSON)(random, data[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def read_checkpoint(folder: Path, data: bytes) -> None:
    path = folder / "weights.pth"
    path.write_bytes(data)
    command("inspect", path)
    with suppress(FrcrnExportError):
        load_model(checkpoint=path)


def configurations(folder: Path) -> list[bytes]:
    settings = {"model": {"strides": [4, 4], "causal": True, "residual": False, "channels": 8}}
    lines = "strides: [4, 4]\nnet: &net {causal: true, depth: 3}\nother: *net\nlr: 1e-3\n"
    return [json.dumps(settings).encode(), lines.encode()]


def change_yaml(random: Random, data: bytes) -> bytes:
    """Lines that YAML makes much of: tags with code, aliases of aliases, deep nesting."""
    billion = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    merges = "b0: &b0 {x: 1}\n" + "".join(
        f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 90)}]}}\n" for n in range(1, 12)
    )
    more = random.choice(
        (
            "x: !!python/object/apply:os.system ['false']",
            *(billion, merges, "x: " + "[" * 5_000, "a: &a [*a]", "? {a: 1}\n: 2", "x: 2001-01-01"),
            *(f"strides: {value}" for value in ("1e999", ".nan", "0x" + "f" * 5_000, "[[[]]]")),
            *(
                "x: 1" + ":1" * 100_000,
                "<<: [1]",
                "strides: !!binary x",
                "- 1",
                "x: !!float a",
                "\0",
                "\x85",
            ),
        )
    )
    return data + b"\n" + more.encode()


def read_configuration(folder: Path, data: bytes) -> None:
    path = folder / "packaged.pth"
    if not path.exists():
        import torch

        torch.save(_states()["plain"], path)
    sidecar = folder / ("config.json" if data[:1] in b"{[" else "config.yaml")
    sidecar.write_bytes(data)
    try:
        command("inspect", path)
    finally:
        sidecar.unlink()
