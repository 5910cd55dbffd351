"""The states of a streaming network: what it keeps of past frames, by name.

The forward pass of a streaming network asks for its states in an order that never changes. The
first pass, over zeros, finds out which there are (`StatesRecorder`); every other one is given their
values and collects the next ones (`States`). A network that computes in float16 takes and gives
its states in float32 all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from frcrn_export.runtime.bundle.manifest import StateSpec


class States:
    """Values of the states for one call, and what they are after it."""

    def __init__(self, values: Iterable[Tensor]) -> None:
        self._values = iter(values)
        self._asked: Tensor | None = None
        self.next: list[Tensor] = []

    def value(self, name: str, shape: Sequence[int]) -> Tensor:
        """The state [B, *shape]; `keep` is called before the next one is asked for."""
        self._asked = next(self._values)
        return self._asked

    def keep(self, value: Tensor) -> None:
        """What the state asked for last is after this call."""
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

    def delayed(self, name: str, x: Tensor, frames: int) -> Tensor:
        """The frames [B, T, F, C] that came `frames` frames ago, zeros at the start of a stream."""
        count = x.shape[1]
        if frames < count:
            return self.past(name, x, frames, axis=1)[:, :count]
        before = self.value(name, (frames, *x.shape[2:])).to(x.dtype)
        self.keep(torch.cat((before[:, count:], x), dim=1) if frames > count else x)
        return before[:, :count]


class StatesRecorder(States):
    """Starts a stream of `batch` rows, all states zero, and writes down their names and shapes."""

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
