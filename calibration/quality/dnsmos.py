"""DNSMOS P.835: predicted listener scores of speech, background and overall, without a reference.

The user provides the network: `sig_bak_ovr.onnx` of the DNS challenge. Source: Reddy et al.,
"DNSMOS P.835: A non-intrusive perceptual objective speech quality metric to evaluate noise
suppressors", ICASSP 2022, and the challenge's `dnsmos_local.py` (the model that is not
personalized).
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.errors import BackendError, UserError

if TYPE_CHECKING:
    import onnxruntime

SAMPLE_RATE = 16_000  # Hz
WINDOW_SECONDS = 9.01
WINDOW = 144_160  # samples

# From the network's outputs to mean opinion scores; the highest power first.
POLYNOMIALS = {
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovr": (-0.06766283, 1.11546468, 0.04602535),
}
_FATAL = 4  # ONNX Runtime's log severity; errors reach us as exceptions


@dataclass(frozen=True)
class Dnsmos:
    """The opened network."""

    session: "onnxruntime.InferenceSession"

    def __call__(self, audio: npt.NDArray[np.floating]) -> dict[str, float]:
        """Scores of [N] samples at 16 kHz, 1 to 5: means over windows that begin every second."""
        name = self.session.get_inputs()[0].name
        raw = [self.session.run(None, {name: window[None]})[0][0] for window in windows(audio)]
        return {
            metric: float(np.mean([np.polyval(polynomial, values[column]) for values in raw]))
            for column, (metric, polynomial) in enumerate(POLYNOMIALS.items())
        }


@lru_cache(maxsize=1)
def open_dnsmos(path: Path) -> Dnsmos:
    """Open the file on one thread of the processor.

    Raises UserError where it is missing or not DNSMOS, BackendError without ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            'DNSMOS needs ONNX Runtime; run: pip install "frcrn-export[cpu]"'
        ) from error
    wanted = "take sig_bak_ovr.onnx of github.com/microsoft/DNS-Challenge"
    if not path.is_file():
        raise UserError(f"{path}: no such file; {wanted}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise UserError(f"{path}: ONNX Runtime cannot load it; {wanted}") from error
    given = [(tensor.type, tensor.shape) for tensor in session.get_inputs()]
    if [(kind, shape[-1:]) for kind, shape in given] != [("tensor(float)", [WINDOW])] or (
        [tensor.shape[-1:] for tensor in session.get_outputs()] != [[3]]
    ):
        shapes = ", ".join(str(shape) for _, shape in given)
        raise UserError(f"{path}: not DNSMOS P.835 (its inputs are {shapes}); {wanted}")
    return Dnsmos(session)


def windows(audio: npt.NDArray[np.floating]) -> list[npt.NDArray[np.float32]]:
    """The windows [WINDOW] that the challenge scores of [N] samples; short clips are repeated."""
    repeated = audio.astype(np.float32)
    while len(repeated) < WINDOW:
        repeated = np.concatenate([repeated, repeated])
    count = int(len(repeated) // SAMPLE_RATE - WINDOW_SECONDS) + 1
    found = []
    for second in range(count):
        start, stop = second * SAMPLE_RATE, int((second + WINDOW_SECONDS) * SAMPLE_RATE)
        # Rounding makes some windows a sample too short; the challenge leaves these out.
        if stop - start >= WINDOW:
            found.append(repeated[start:stop])
    return found
