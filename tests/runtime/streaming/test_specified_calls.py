"""The calls of a stream in numbers, as docs/bundle.md gives them."""

from math import ceil

import numpy as np
import pytest

from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, Padding, StftSpec, StreamingInfo
from frcrn_export.runtime.streaming.level import FixedLevel
from frcrn_export.runtime.streaming.stream import Stream
from frcrn_export.runtime.streaming.transforms import SpectrumTransform, WaveTransform

HANN = {"window": "hann", "center": True}
PLAIN = StftSpec(window_length=40, hop_length=20, fft_length=40)
TRANSFORMS = [
    (PLAIN, Padding(rule="windows", size=100, stride=60)),
    (PLAIN, whole_hops(PLAIN)),
    *(
        (spec, whole_hops(spec))
        for spec in (
            StftSpec(window_length=40, hop_length=15, fft_length=48),
            StftSpec(window_length=40, hop_length=10, fft_length=40, **HANN),
            StftSpec(window_length=32, hop_length=12, fft_length=40, pad_mode="zeros", **HANN),
            StftSpec(window_length=32, hop_length=32, fft_length=32, **HANN),
        )
    ),
]


def padding_of(samples: int, padding: Padding) -> int:
    s, d = padding.size, padding.stride
    if padding.rule == "multiple":
        return -samples % s
    if padding.rule == "hops":
        return s - samples if samples <= s else (s - samples) % d
    if samples < s:
        return s - samples
    if samples < s + d:
        return s + d - samples
    r = (samples - s) % d
    return s + r if r else 0


def run(stream: Stream, shape: tuple[int, ...], blocks: list[int]) -> tuple[list[int], list[float]]:
    """How many samples come out with each block and at the end, and the `end` of every call."""
    ends: list[float] = []

    def call() -> None:
        while stream.ready:
            row = np.empty(shape, np.float32)
            stream.fill(row)
            ends.append(stream.transform.end)
            stream.take(row)

    returned = []
    for block in blocks:
        stream.push(np.ones(block, np.float32))
        call()
        returned.append(len(stream.pull()))
    stream.finish()
    call()
    return [*returned, len(stream.pull())], ends


def specified(
    stft: StftSpec | None, info: StreamingInfo, padding: Padding, blocks: list[int]
) -> tuple[list[int], list[float]]:
    chunk, lookahead = info.chunk, info.lookahead
    given = np.cumsum(blocks).tolist()
    n = given[-1]
    if stft is None:
        first = step = chunk
        total = n + padding_of(n, padding)
        calls = ceil((n + lookahead) / chunk)
    else:
        w, h = stft.window_length, stft.hop_length
        m = w // 2 if stft.center else 0
        a = int(stft.center and stft.pad_mode == "reflect")
        first, step = w + a - m + (chunk - 1) * h, chunk * h
        total = 1 + (n + padding_of(n, padding) + 2 * m - w) // h
        calls = ceil((min(total, ceil((n + m) / h)) + lookahead) / chunk)
    made = [0 if g < first else 1 + (g - first) // step for g in given]
    frames = [max(0, c * chunk - lookahead) for c in made]
    out = frames if stft is None else [max(0, f * h - m) for f in frames]
    returned = [late - early for early, late in zip([0, *out], [*out, n], strict=True)]
    ends = [UNKNOWN_END] * made[-1] + [float(total)] * (calls - made[-1])
    return returned, ends


@pytest.mark.parametrize("samples", [1, 7, 39, 40, 41, 100, 160, 161, 423])
@pytest.mark.parametrize(("chunk", "lookahead"), [(1, 0), (1, 3), (4, 0), (4, 6)])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_spectra(
    transform: tuple[StftSpec, Padding], chunk: int, lookahead: int, samples: int
) -> None:
    stft, padding = transform
    info = StreamingInfo(chunk=chunk, lookahead=lookahead, states=())
    stream = Stream(SpectrumTransform(stft, info, padding), FixedLevel(1.0), True)
    blocks = [samples // 3, 0, samples - samples // 3]
    found = run(stream, (2, stft.bins, chunk), blocks)
    assert found == specified(stft, info, padding, blocks)


@pytest.mark.parametrize("samples", [1, 7, 8, 64, 65])
@pytest.mark.parametrize(("chunk", "lookahead"), [(8, 0), (8, 24), (32, 8)])
def test_waveforms(chunk: int, lookahead: int, samples: int) -> None:
    padding = Padding(rule="multiple", size=8)
    info = StreamingInfo(chunk=chunk, lookahead=lookahead, states=())
    stream = Stream(WaveTransform(info, padding), FixedLevel(1.0), True)
    blocks = [samples // 3, 0, samples - samples // 3]
    assert run(stream, (1, chunk), blocks) == specified(None, info, padding, blocks)
