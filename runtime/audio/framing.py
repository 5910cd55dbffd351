"""Padding of whole utterances, and windows over long ones. All lengths are in samples."""

from collections.abc import Iterable, Iterator

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Padding, Segments, StftSpec


def whole_hops(stft: StftSpec) -> Padding:
    """The padding rule with which the frames of a transform cover every sample of an utterance."""
    hop = stft.hop_length
    shortest = -(-stft.shortest // hop) * hop if stft.center else stft.window_length
    return Padding(rule="hops", size=shortest, stride=hop)


def padding_samples(samples: int, padding: Padding) -> int:
    """How many zeros the padding rule appends to an utterance of `samples` samples.

    `windows` is a published rule. Where the windows do not end with the utterance it appends a
    whole window and the rest (N + size + rest samples in all), more than needed.
    """
    size, stride = padding.size, padding.stride
    if padding.rule == "multiple":
        return -samples % size
    if padding.rule == "hops":
        return -(samples - size) % stride if samples > size else size - samples
    if samples < size:
        return size - samples
    if samples < size + stride:
        return size + stride - samples
    rest = (samples - size) % stride
    return size + rest if rest else 0


def fit(wave: Float32Array, samples: int) -> Float32Array:
    """[C, n] cut, or continued with zeros, to [C, samples]."""
    missing = samples - wave.shape[1]
    return np.pad(wave, ((0, 0), (0, missing))) if missing > 0 else wave[:, :samples]


def window_count(samples: int, padding: Padding, segments: Segments) -> int:
    """How many windows an utterance of `samples` samples is cut into.

    They cover the padded utterance. A window whose kept part lies in the padding is left out.
    """
    padded = max(samples + padding_samples(samples, padding), segments.length)
    covering = -((segments.length - padded) // segments.stride) + 1
    heard = -((segments.left - samples) // segments.stride)
    return max(1, min(covering, heard))


def cut_windows(
    blocks: Iterable[Float32Array], count: int, segments: Segments
) -> Iterator[Float32Array]:
    """Blocks [C, n] of any length -> `count` windows [C, length], one every `stride` samples.

    Windows hold zeros past the end of the blocks. At most one window and one block are in memory.
    """
    source = iter(blocks)
    held = next(source)
    for _ in range(count):
        while held.shape[1] < segments.length:
            block = next(source, None)
            if block is None:
                held = fit(held, segments.length)
            else:
                held = np.concatenate((held, block), axis=1)
        yield held[:, : segments.length]
        held = held[:, segments.stride :]


def join_windows(
    windows: Iterable[Float32Array], samples: int, count: int, segments: Segments
) -> Iterator[Float32Array]:
    """Enhanced windows [C, length] -> blocks that concatenate to [C, samples].

    Each window keeps its part [left, length - right); the first also keeps its start, the last its
    end. (The published code leaves zeros in the last `right` samples of an utterance that its
    windows fit exactly.)
    """
    for index, window in enumerate(windows):
        left = segments.left if index > 0 else 0
        right = segments.right if index < count - 1 else 0
        piece = fit(window, segments.length)[:, left : segments.length - right]
        yield piece[:, : samples - index * segments.stride - left]
