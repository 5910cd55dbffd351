"""Whole streams against the reference: audio in uneven blocks, the gains, and what comes out."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import QUANTIZED, FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.level import stream_level
from frcrn_export.runtime.streaming.network import network_of, stream_transform
from frcrn_export.runtime.verify.streaming_parity import StreamedCore

_MOST_BLOCKS = 65_536


def stream_denoiser(bundle: Bundle, core: StreamedCore, gain: float | None) -> StreamingDenoiser:
    """A denoiser at the beginning of a stream, without a high-pass, as the reference has none."""
    initial = core.session.initial_states()
    core.session.load([state.repeat(core.rows, axis=0) for state in initial], core.rows)
    plain = replace(bundle, manifest=bundle.manifest.with_high_pass(False))
    return StreamingDenoiser(network_of(plain, core.session), gain=gain)


def takes_streams(entry: FileEntry) -> bool:
    """Whether a streaming core is compared over whole streams.

    Float16 ONNX files only serve to build engines, and quantized ones have seen other levels.
    """
    return entry.precision == "fp32" or (
        entry.engine is not None and entry.precision not in QUANTIZED
    )


def stream_output(
    bundle: Bundle, core: StreamedCore, wave: Float32Array, more: Mapping[str, Float32Array]
) -> Float32Array | None:
    """The enhanced stream [N] of a case, in its blocks.

    None where the precision takes less than the case gives. Empty where other numbers of samples
    come out than the case returns: such an output lies elsewhere in time. Raises ValueError or
    KeyError where the case is none of a stream.
    """
    edges = _edges(more["blocks"], len(wave))
    denoiser = stream_denoiser(bundle, core, gain=None)
    parts = [denoiser.process(wave[start:stop]) for start, stop in pairwise(edges)]
    parts.append(denoiser.flush())
    if denoiser.limited_calls:
        return None
    output = np.concatenate(parts)
    return output if [len(part) for part in parts] == more["returned"].tolist() else output[:0]


def _edges(blocks: Float32Array, samples: int) -> list[int]:
    """Where each block begins and the last ends."""
    lengths = [int(length) for length in blocks.ravel()[:_MOST_BLOCKS]]
    if min(lengths, default=0) < 0 or sum(lengths) != samples:
        raise ValueError(f"{len(blocks)} blocks that are no {samples} samples")
    return [0, *np.cumsum(lengths).tolist()]


def stream_gains(manifest: Manifest, entry: FileEntry, wave: Float32Array) -> Float32Array:
    """The causal gain [N] of each sample of a stream."""
    transform = stream_transform(manifest, entry)
    level = stream_level(manifest.level, None, manifest.sample_rate, transform.gain_interval)
    calls = transform.calls(len(wave))
    padded = np.append(wave, np.zeros(transform.total_samples(calls), np.float32))
    gains = np.ones_like(padded)
    start = 0
    for call in range(1, calls + 1):
        stop = transform.total_samples(call)
        level.gains(padded[start:stop], gains[start:stop])
        start = stop
    return gains[: len(wave)]
