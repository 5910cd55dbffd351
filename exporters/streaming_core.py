"""Streaming cores in torch: what a family's streaming form is, and how it is run.

A streaming core takes the next `chunk` frames of a stream and its states, and gives frames of the
output and the next states. Networks without an STFT count in samples what others count in frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, StateSpec


@dataclass(frozen=True)
class StreamingCore:
    """The streaming form of a network, one row of a batch for each stream.

    `module` maps (x, *states), or with `end` (x, end, *states), to (y, *next states). All tensors
    are float32 (or all float64) with the batch axis first. x and y have `chunk` frames on their
    last axis: [B, 2, F, chunk], or [B, 1, chunk] samples. Frame k of the y of call n is frame
    n * chunk + k - lookahead of the enhanced stream. The states come in the order of `states`.
    `end` [B] holds how many frames each stream has, UNKNOWN_END while it goes on; it is known by
    the first call that holds frames past it.
    """

    module: nn.Module
    chunk: int
    lookahead: int
    states: tuple[StateSpec, ...]
    end: bool

    def initial(self, batch: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        """The states before the first call, for `batch` streams."""
        return tuple(
            torch.full((batch, *spec.row_shape), spec.initial, dtype=dtype) for spec in self.states
        )


def run_streaming(core: StreamingCore, given: Tensor) -> Tensor:
    """The output for whole streams [B, ..., T], in calls of `core.chunk` frames: the same shape.

    Zeros follow the stream until the last frame has come out, and its end is told no sooner than
    a live stream's could be.
    """
    frames = given.shape[-1]
    outputs: list[Tensor] = []
    states = core.initial(len(given), given.dtype)
    for chunk, end in _chunks(core, given):
        known = (chunk.new_full((len(chunk),), end),) if core.end else ()
        output, *following = core.module(chunk, *known, *states)
        outputs.append(output)
        states = tuple(following)
    return torch.cat(outputs, dim=-1)[..., core.lookahead : core.lookahead + frames]


def _chunks(core: StreamingCore, given: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Every call's frames, and the end as far as it is known then."""
    frames = given.shape[-1]
    calls = ceil((frames + core.lookahead) / core.chunk)
    padded = nn.functional.pad(given, (0, calls * core.chunk - frames))
    for call in range(calls):
        stop = (call + 1) * core.chunk
        yield padded[..., stop - core.chunk : stop], frames if stop > frames else UNKNOWN_END
