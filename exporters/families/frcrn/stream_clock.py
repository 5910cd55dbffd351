"""Which frames of a streaming network belong to the utterance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """The frames of a call at one place in the network, [B, 1, P, 1].

    `inside` is 1 where a frame belongs to the stream there, else 0; `count`, at least 1, is how
    many there were up to it.
    """

    inside: Tensor
    count: Tensor


@dataclass(frozen=True)
class Clock:
    """Where in their streams the frames of a call are.

    `index` [B, 1, P, 1] counts the frames from 0, `end` [B, 1, 1, 1] is how many frames the
    utterance has; both count to 2^24. `dtype` is what the network computes in.
    """

    index: Tensor
    end: Tensor
    dtype: torch.dtype

    def behind(self, frames: int) -> Clock:
        """The clock of a network whose frames come `frames` later."""
        return replace(self, index=self.index - frames) if frames else self

    def stages(self, places: Sequence[tuple[int, int]]) -> list[Stage]:
        """For places (late, longer), whose frames come `late` frames later, `longer` more of them.

        All at once: a small operation takes as long for one as for twenty.
        """
        if not places:
            return []
        late, longer = torch.tensor(places, dtype=self.index.dtype).T[:, :, None, None]
        index = self.index - late  # [B, places, P, 1]
        inside = ((index >= 0) & (index < self.end + longer)).to(self.dtype)
        count = (index + 1).clamp(min=1)
        pairs = zip(inside.split(1, dim=1), count.split(1, dim=1), strict=True)
        return [Stage(*pair) for pair in pairs]
