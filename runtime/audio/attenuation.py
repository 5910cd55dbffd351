"""A limit of attenuation: some of the noisy signal stays in the output, the room with it.

With a = 10^(-limit / 20), sample by sample:

    out = a * noisy + (1 - a) * enhanced

`noisy` is what went into the network, aligned with what came out and scaled as it is. So noise
falls by `limit` dB at most, and a limit of 0 dB gives the input.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import UserError


def noisy_share(limit: float | None) -> float:
    """a, the share of the noisy signal for a limit in dB; 0 for None, no limit.

    Raises UserError for a limit that is negative or not a number.
    """
    if limit is None:
        return 0.0
    if not limit >= 0:
        raise UserError(f"an attenuation limit of {limit} dB; give 0 or more")
    return 0.0 if math.isinf(limit) else 10 ** (-limit / 20)


def mix(noisy: Float32Array, enhanced: Float32Array, share: float) -> Float32Array:
    """The output for arrays of one shape, float32."""
    return np.float32(share) * noisy + np.float32(1 - share) * enhanced


def mix_blocks(
    noisy: Iterable[Float32Array], enhanced: Iterable[Float32Array], share: float
) -> Iterator[Float32Array]:
    """The output for blocks [C, n] whose borders differ; as long as the shorter of the two."""
    waiting = iter(noisy)
    held: Float32Array | None = None
    for block in enhanced:
        while held is None or held.shape[1] < block.shape[1]:
            more = next(waiting, None)
            if more is None:
                break
            held = more if held is None else np.concatenate((held, more), axis=1)
        if held is None:
            return
        count = min(held.shape[1], block.shape[1])
        yield mix(held[:, :count], block[:, :count], share)
        held = held[:, count:]
