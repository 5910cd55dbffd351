"""Streaming cores in torch: their interface, their states, and running them.

A streaming core takes the next `chunk` frames of a stream and its states, and gives frames of the
output and the next states. What asks for one (`Family.streaming`, `StreamingOptions`) counts
frames: columns of the STFT, or hops of a network of waves. The core of such a network has `chunk`
and `lookahead` in samples, as the manifest does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, StateSpec


class States:
    """The states of one call, before and after it."""

    def __init__(self, values: Iterable[Tensor]) -> None:
        self._values = iter(values)
        self._asked: Tensor | None = None
        self.next: list[Tensor] = []

    def value(self, name: str, shape: Sequence[int]) -> Tensor:
        """The state [B, *shape]; `keep` follows for every state, in the same order."""
        self._asked = next(self._values)
        return self._asked

    def keep(self, value: Tensor) -> None:
        """Set the next state, in the order of `value`, to its value after this call."""
        self.next.append(value if self._asked is None else value.to(self._asked.dtype))

    def past(self, name: str, x: Tensor, frames: int, axis: int = 2) -> Tensor:
        """x [B, C, T, F] with the `frames` frames before it, zeros at the start of a stream.

        `axis` is 1 where time is, as in [B, T, F, C].
        """
        if frames == 0:
            return x
        count = x.shape[axis]
        shape = [frames if i == axis else size for i, size in enumerate(x.shape)]
        before = self.value(name, shape[1:]).to(x.dtype)
        joined = torch.cat((before, x), dim=axis)
        source = x if count >= frames else joined
        last = source.shape[axis] - frames
        self.keep(source.narrow(axis, last, frames) if last else source)
        return joined

    def through(
        self, part: Callable[..., Sequence[Tensor]], count: int, *given: Tensor
    ) -> Sequence[Tensor]:
        """Continue a part of `count` states: (*given, *states) to as many tensors.

        What it makes of `given`.
        """
        made = part(*given, *(next(self._values) for _ in range(count)))
        self.next += made[len(given) :]
        return made[: len(given)]

    def recurrent(self, name: str, layer: nn.RNNBase, x: Tensor) -> Tensor:
        """Continue a recurrent layer with x [B, T, C] (or T first).

        Its state is [B, layers, H], of an LSTM hidden and cell state, always float32.
        """
        shape = (layer.num_layers, layer.hidden_size)
        parts = (f"{name}.hidden", f"{name}.cell") if layer.mode == "LSTM" else (name,)
        before = [self.value(part, shape).transpose(0, 1).contiguous() for part in parts]
        y, after = layer(x, before[0] if len(before) == 1 else tuple(before))
        for state in (after,) if len(before) == 1 else after:
            self.keep(state.transpose(0, 1))
        output: Tensor = y
        return output

    def delayed(self, name: str, x: Tensor, frames: int) -> Tensor:
        """The frames [B, T, F, C] from `frames` frames ago, zeros at the start of a stream."""
        count = x.shape[1]
        if frames < count:
            return self.past(name, x, frames, axis=1)[:, :count]
        before = self.value(name, (frames, *x.shape[2:])).to(x.dtype)
        self.keep(torch.cat((before[:, count:], x), dim=1) if frames > count else x)
        return before[:, :count]


class StatesRecorder(States):
    """Starts a stream of `batch` rows with zero states, and records their names and shapes."""

    def __init__(self, batch: int, dtype: torch.dtype) -> None:
        super().__init__(())
        self._batch = batch
        self._dtype = dtype
        self.specs: list[StateSpec] = []

    def value(self, name: str, shape: Sequence[int]) -> Tensor:
        self.specs.append(
            StateSpec(name=name, next=f"{name}.next", shape=("batch", *map(int, shape)))
        )
        return torch.zeros(self._batch, *shape, dtype=self._dtype)


@dataclass(frozen=True)
class StreamingCore:
    """The streaming form of a network, one row of a batch for each stream.

    `module` maps (x, *states), or with `end` (x, end, *states), to (y, *next states). All tensors
    are float32 (or all float64) with the batch axis first. x and y have `chunk` frames on their
    last axis: [B, 2, F, chunk], or [B, 1, chunk] samples. Frame k of the y of call n is frame
    n * chunk + k - lookahead of the enhanced stream. The states come in the order of `states`.
    `end` [B] is the number of frames of each stream, UNKNOWN_END while it is not known; it is known
    by the first call with frames past it.
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

    Zeros follow the stream until the last frame has come out; its end is stated as late as in a
    live stream.
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
    """The frames of every call, and the end as known then."""
    frames = given.shape[-1]
    calls = ceil((frames + core.lookahead) / core.chunk)
    padded = nn.functional.pad(given, (0, calls * core.chunk - frames))
    for call in range(calls):
        stop = (call + 1) * core.chunk
        yield padded[..., stop - core.chunk : stop], frames if stop > frames else UNKNOWN_END
