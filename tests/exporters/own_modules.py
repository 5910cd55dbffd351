"""Modules that a user might export: named as files, since their code is what is exported."""

from pathlib import Path

MASK = '''\
import torch
from torch import nn
from torch.nn import functional as F


class Mask(nn.Module):
    """spec [B, 2, F, T] to a complex mask of the same shape."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 32, (5, 3), padding=(2, 1)))
        self.norm = nn.BatchNorm2d(32)
        self.mid = nn.Conv2d(32, 32, 3, padding=1)
        self.out = nn.Conv2d(32, 2, 3, padding=1)

    def forward(self, spec):
        return torch.tanh(self.out(F.relu(self.mid(F.relu(self.norm(self.conv(spec)))))))


def build():
    return Mask()
'''

WAVE = '''\
from torch import nn
from torch.nn import functional as F


class Wave(nn.Module):
    """wave [B, 1, N] to [B, N], N a multiple of 64."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv1d(1, 8, 128, stride=64, padding=32)
        self.up = nn.ConvTranspose1d(8, 1, 128, stride=64, padding=32)

    def forward(self, wave):
        return self.up(F.leaky_relu(self.down(wave)))[:, 0]


net = Wave()
'''

# A GRU over time, a real mask [B, F, T]; it says how it streams.
GRU = """\
import torch
from torch import nn

from frcrn_export.exporters.streaming_core import States, StatesRecorder, StreamingCore


class Stream(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, spec, *states):
        following = States(states)
        return spec * self.network.mask(spec, following)[:, None], *following.next


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2 * 65, 24, batch_first=True)
        self.out = nn.Conv1d(24, 65, 1)

    def forward(self, spec):
        y = self.gru(spec.flatten(1, 2).transpose(1, 2))[0]
        return torch.sigmoid(self.out(y.transpose(1, 2)))

    def mask(self, spec, states):
        y = states.recurrent("gru", self.gru, spec.flatten(1, 2).transpose(1, 2))
        return torch.sigmoid(self.out(y.transpose(1, 2)))

    def streaming(self, chunk, lookahead):
        recorder = StatesRecorder(1, torch.float32)
        self.mask(torch.zeros(1, 2, 65, chunk), recorder)
        return StreamingCore(Stream(self), chunk, 0, tuple(recorder.specs), end=False)
"""

# A network of waves that looks two hops of 64 samples ahead, or less in a stream.
AHEAD = """\
import torch
from torch import nn
from torch.nn import functional as F

from frcrn_export.exporters.streaming_core import States, StatesRecorder, StreamingCore

HOP = 64


class Stream(nn.Module):
    def __init__(self, network, lookahead):
        super().__init__()
        self.network, self.lookahead = network, lookahead

    def forward(self, wave, *states):
        following = States(states)
        return self.step(wave, following), *following.next

    def step(self, wave, states):
        joined = states.past("before", wave, self.lookahead * HOP)
        now, ahead = joined[..., : wave.shape[-1]], joined[..., -wave.shape[-1] :]
        return self.network.joined(now, ahead)


class Ahead(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Conv1d(2, 1, 1)

    def joined(self, now, ahead):
        return self.mix(torch.cat((now, ahead), 1))

    def forward(self, wave):
        return self.joined(wave, F.pad(wave, (0, 2 * HOP))[..., 2 * HOP :])

    def streaming(self, chunk, lookahead):
        stream = Stream(self, 2 if lookahead is None else lookahead)
        recorder = StatesRecorder(1, torch.float32)
        stream.step(torch.zeros(1, 1, chunk * HOP), recorder)
        return StreamingCore(
            stream, chunk * HOP, stream.lookahead * HOP, tuple(recorder.specs), end=False
        )
"""

# What the line that is marked does, and what the error says of it.
BROKEN = {
    "branch": ("if y.mean() > 0: y = -y", "decides by the values of a tensor"),
    "numpy": ("y = torch.from_numpy(y.numpy() * 2)", "leaves PyTorch"),
    "length": ("y = y * torch.linspace(0, 1, int(x.shape[-1]))", "bakes in a size"),
    "loop": ("y = torch.stack([y[..., t] for t in range(x.shape[-1])], -1)", "bakes in a size"),
    "long": ("y = y if x.shape[-1] < 5000 else y * 2", "up to 4999"),
    "operator": ("y = y + torch.special.bessel_j0(y)", "has no ONNX form"),
    "cached": ("self.w = y = y * self.__dict__.setdefault('v', torch.rand(x.shape[-1]))", "match"),
    "nan": ("y = y / 0 * 0", "NaN"),
    "silence": ("y = y * x.square().mean().rsqrt()", "for silence"),
    "noise": ("y = y * torch.rand(1)", "different outputs for"),
    "shape": ("y = y[:, :, 1:]", "is [2, 2, 65, 23]"),
    "complex": ("y = torch.complex(y[:, 0], y[:, 1])", "real and imaginary part on axis 1"),
    "tuple": ("return y, y", "gives tuple"),
    "raises": ("raise KeyError('no such band')", "KeyError: 'no such band'"),
}


def broken(name: str) -> str:
    """A module whose `forward` has one line, line 10, that does what no core may."""
    return f"""\
import torch
from torch import nn

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    def forward(self, x):
        y = self.conv(x)
        {BROKEN[name][0]}
        return y
"""


def write(folder: Path, name: str, text: str) -> str:
    """A file NAME.py in a folder; its path."""
    path = folder / f"{name}.py"
    path.write_text(text)
    return str(path)
