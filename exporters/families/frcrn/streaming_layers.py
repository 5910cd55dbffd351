"""What all forms of FRCRN's stream share: the clock, running means, the gains made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.gpu import PairedGains
from frcrn_export.exporters.streaming_core import States


@dataclass(frozen=True)
class Stage:
    """The frames of a call at one place in the network, [B, 1, P, 1], or at n places.

    `inside` is 1 where a frame belongs to the stream there, else 0; `count`, at least 1, is how
    many there were up to it.
    """

    inside: Tensor
    count: Tensor

    def places(self, first: int, end: int) -> Stage:
        """At some of its places."""
        return Stage(self.inside[:, first:end], self.count[:, first:end])


@dataclass(frozen=True)
class Clock:
    """The positions of a call's frames in their streams.

    `index` [B, 1, P, 1] counts the frames from 0, `end` [B, 1, 1, 1] is how many frames the
    utterance has; both count to 2^24. `dtype` is what the network computes in.
    """

    index: Tensor
    end: Tensor
    dtype: torch.dtype

    def behind(self, frames: int) -> Clock:
        """The clock of a network that is `frames` frames later."""
        return replace(self, index=self.index - frames) if frames else self

    def stage(self, places: Sequence[tuple[int, int]]) -> Stage:
        """At places (late, longer), whose frames come `late` frames later, `longer` more of them.

        All places at once: a small operation takes as long for one as for twenty.
        """
        late, longer = torch.tensor(places, dtype=self.index.dtype).T[:, :, None, None]
        index = self.index - late  # [B, places, P, 1]
        inside = ((index >= 0) & (index < self.end + longer)).to(self.dtype)
        return Stage(inside, (index + 1).clamp(min=1))

    def stages(self, places: Sequence[tuple[int, int]]) -> list[Stage]:
        """The stage at each place."""
        if not places:
            return []
        stage = self.stage(places)
        pairs = zip(*(x.chunk(len(places), 1) for x in (stage.inside, stage.count)), strict=True)
        return [Stage(*pair) for pair in pairs]


class StreamingPart(nn.Module):
    """A network in a row of them, `delay` frames behind what it is given."""

    delay: int

    def step(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        """The next frames, to the same shape; its states have names that begin with `name`."""
        raise NotImplementedError

    def forward(self, spec: Tensor, index: Tensor, end: Tensor, *states: Tensor) -> Any:
        """(frames, clock, *states) to (frames, clock of what comes behind, *next states)."""
        dtype = next(self.parameters()).dtype  # float16, or that of the spectrum
        clock, following = Clock(index, end, dtype), States(states)
        y = self.step(spec.to(dtype), clock, following, "").to(spec.dtype)
        behind = clock.behind(self.delay)
        return y, behind.index, behind.end, *following.next


block_diag: Callable[..., Tensor] = torch.block_diag  # which has no types of its own


class StreamingGains(nn.Module):
    """The channel gains of n layers at once: n tensors [2B, C, P, F] to n gains [2B, C, P, 1].

    Their means are rows [B, n, P, 2C], real and imaginary part side by side, and the layers are
    products of matrices: too small to be worth a convolution.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        gains = [layer for layer in layers if isinstance(layer, PairedGains)]
        pooling = gains[0].pool.pooling
        assert pooling != "global", "a mean over the whole utterance cannot stream"
        self.frames = None if pooling == "cumulative" else pooling
        self.down = nn.Buffer(torch.stack([of_both_parts(layer.down) for layer in gains]))
        self.down_bias = nn.Buffer(_biases([layer.down for layer in gains]))
        self.up = nn.Buffer(torch.stack([of_each(layer.up) for layer in gains]))
        self.up_bias = nn.Buffer(_biases([layer.up for layer in gains]))

    def forward(
        self, xs: Sequence[Tensor], stages: Sequence[Stage], states: States, name: str
    ) -> list[Tensor]:
        means = [_row_means(x, stages[0].count.dtype) for x in xs]
        gains = self._gains(means, stages, states, name, xs[0].dtype).transpose(2, 3)
        frames, channels = gains.shape[3], gains.shape[2] // 2
        return [
            part.contiguous().view(-1, channels, frames, 1)
            for part in gains.chunk(gains.shape[1], 1)
        ]

    def of_rows(
        self, xs: Sequence[Tensor], stages: Sequence[Stage], states: States, name: str
    ) -> list[Tensor]:
        """The same for n tensors [B, P, F, 2C]: n gains [B, P, 1, 2C]."""
        means = [x.mean(2)[:, None] for x in xs]
        gains = self._gains(means, stages, states, name, xs[0].dtype)
        return [part.transpose(1, 2) for part in gains.chunk(gains.shape[1], 1)]

    def _gains(
        self,
        means: Sequence[Tensor],
        stages: Sequence[Stage],
        states: States,
        name: str,
        dtype: torch.dtype,
    ) -> Tensor:
        """From means over frequency, each [B, 1, P, 2C], to gains [B, n, P, 2C]."""
        inside = torch.cat([stage.inside for stage in stages], dim=1)  # [B, n, P, 1]
        stage = Stage(inside, torch.cat([stage.count for stage in stages], dim=1))
        rows = torch.cat(list(means), dim=1)  # [B, n, P, 2C]
        rows = running_means(rows, stage, self.frames, states, name).to(dtype)
        hidden = F.relu(rows @ self.down + self.down_bias)
        products = torch.sigmoid(hidden @ self.up + self.up_bias)  # [B, n, P, 4C]
        re_re, re_im, im_re, im_im = products.chunk(4, dim=3)
        return torch.cat((re_re - im_im, re_im + im_re), dim=3)


def running_means(x: Tensor, stage: Stage, window: int | None, states: States, name: str) -> Tensor:
    """Means of frames [B, n, P, C] to running means over all frames, or the last `window`."""
    inside, count = stage.inside, stage.count
    if window is None:
        # Accumulated as differences from the mean, which stays exact for hours.
        mean = states.value(name, (x.shape[1], 1, x.shape[3]))
        steps = (x - mean) * (inside / count)
        if x.shape[2] == 1:
            means = mean + steps
            states.keep(means)
            return means
        means = mean + (steps * count).cumsum(2) / count
        states.keep(means[:, :, -1:])
        return means
    joined = states.past(name, x * inside, window - 1)
    means = F.avg_pool2d(joined, (window, 1), stride=1)  # of what is there
    return means * (window / count.clamp(max=window))


def _row_means(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[2B, C, P, F] to means over frequency [B, 1, P, 2C]."""
    _, channels, frames, _ = x.shape
    means = x.to(dtype).mean(3, keepdim=True).view(-1, 1, 2 * channels, frames)
    return means.transpose(2, 3)


def of_both_parts(conv: nn.Conv2d) -> Tensor:
    """Both layers of a complex one, [2R, C, 1, 1], as a matrix [2C, 4R] that takes both parts.

    What comes out is f_re(re), f_re(im), f_im(re), f_im(im).
    """
    re, im = conv.weight[:, :, 0, 0].chunk(2)
    return torch.cat((block_diag(re.T, re.T), block_diag(im.T, im.T)), dim=1).detach()


def of_each(conv: nn.Conv2d) -> Tensor:
    """Both layers of a complex one, [2C, R, 1, 1], as a matrix [4R, 4C] for what came so far."""
    re, im = conv.weight[:, :, 0, 0].chunk(2)
    return block_diag(re.T, re.T, im.T, im.T).detach()


def _biases(convs: Sequence[nn.Conv2d]) -> Tensor:
    """[n, 1, 4C]: each layer's twice, once for each part."""
    return torch.stack([twice(conv) for conv in convs])[:, None]


def twice(conv: nn.Conv2d) -> Tensor:
    """The biases of both layers of a complex one, each for both parts: [4C]."""
    assert conv.bias is not None
    re, im = conv.bias.chunk(2)
    return torch.cat((re, re, im, im)).detach()
