"""The network call by call: the past of the convolution and the GRU's state are its states."""

import torch
from torch import Tensor, nn

from frcrn_export.exporters.streaming_core import States, StatesRecorder, StreamingCore

from .network import BINS, PAST, GruMask, log_magnitude


class StreamingGruMask(nn.Module):
    """(spec [B, 2, 257, chunk], *states) to (enhanced, *next states)."""

    def __init__(self, network: GruMask) -> None:
        super().__init__()
        self.network = network

    def forward(self, spec: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        following = States(states)
        return self.step(spec, following), *following.next

    def step(self, spec: Tensor, states: States) -> Tensor:
        network = self.network
        x = states.past("time", network.narrow(log_magnitude(spec)), PAST)
        x = torch.relu(network.norm(network.time(x)))
        y = states.recurrent("memory", network.memory, x.transpose(1, 2))
        return network.masked(spec, y)


@torch.no_grad()
def stream(network: GruMask, chunk: int) -> StreamingCore:
    """The streaming form of a folded network; it looks at no frame of the future."""
    module = StreamingGruMask(network).eval()
    recorder = StatesRecorder(batch=1, dtype=torch.float32)
    module.step(torch.zeros(1, 2, BINS, chunk), recorder)
    return StreamingCore(module, chunk, lookahead=0, states=tuple(recorder.specs), end=False)
