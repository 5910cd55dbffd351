"""What surrounds a core in the runtime, in NumPy, as the parity vectors compare it."""

from collections.abc import Callable
from functools import partial

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.high_pass import HighPassFilter, high_passed_blocks
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bundle.manifest import HighPass, Manifest
from frcrn_export.runtime.verify.stream_parity import stream_gains

Op = Callable[[Float32Array], Float32Array]


def surrounding_op(manifest: Manifest, stage: str, case: str) -> tuple[str, Op] | None:
    """The name of what is compared in a case, and the function; None for other cases."""
    stft, high_pass = manifest.stft, manifest.high_pass
    core = next((entry for entry in manifest.files if entry.streaming is not None), None)
    match stage, case:
        case "pre", _ if stft is not None:
            return "stft", Stft(stft).analysis
        case "post", _ if stft is not None:
            return "stft", Stft(stft).synthesis
        case "high_pass", "recording" if high_pass is not None:
            return "high-pass", partial(_recording, high_pass, manifest.sample_rate)
        case "high_pass", "stream" if high_pass is not None:
            return "high-pass", partial(_stream, high_pass, manifest.sample_rate)
        case "stream", _ if core is not None:
            return "level", partial(stream_gains, manifest, core)
    return None


def _recording(spec: HighPass, sample_rate: int, wave: Float32Array) -> Float32Array:
    blocks = high_passed_blocks([wave[None]], spec.cutoff_hz, sample_rate)
    filtered: Float32Array = np.concatenate(list(blocks), axis=1)[0]
    return filtered


def _stream(spec: HighPass, sample_rate: int, wave: Float32Array) -> Float32Array:
    high_pass = HighPassFilter(spec.streaming_cutoff_hz, sample_rate)
    return high_pass(wave[None]).astype(np.float32).reshape(-1)
