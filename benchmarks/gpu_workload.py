"""What every contender is given: real speech of two lengths, and what the reference makes of it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.reference import WaveformNetwork, level_gain
from frcrn_export.exporters.stft_ops import StftAnalysis
from frcrn_export.runtime.audio.measures import snr_db

Float32Array = npt.NDArray[np.float32]

# A pipeline takes and gives waveforms. A core leaves the STFT out: it takes and gives spectra.
# For networks without an STFT the two are one.
Job = Literal["pipeline", "core"]
CaseName = Literal["frame", "second"]

FRAME_SECONDS = 0.02  # of networks without an STFT
# A batch repeats this many cuts of the recording, so that the reference has few to compute.
_CUTS = 4
# Identical outputs are written as this many dB, as in manifests.
_IDENTICAL_DB = 300.0


@dataclass(frozen=True)
class Case:
    """One shape to measure: `batch` waveforms of `samples`, each `seconds` of new audio."""

    name: CaseName
    batch: int
    samples: int
    seconds: float


def make_cases(model: LoadedModel, batches: list[int]) -> list[Case]:
    """One STFT frame (or 20 ms), and a second at every batch size.

    A network that takes segments of one length is given that length in place of a second.
    """
    rate, stft, fixed = model.sample_rate, model.spec.stft, model.processing.core_samples
    if fixed is not None:
        return [Case("second", batch, fixed, fixed / rate) for batch in batches]
    if stft is not None:
        hop = stft.hop_length
        frame = Case("frame", 1, stft.samples(1), hop / rate)
        whole = stft.samples(rate // hop)
        return [
            frame,
            *(Case("second", batch, whole, rate // hop * hop / rate) for batch in batches),
        ]
    size = model.processing.padding.size
    short, whole = (-(-round(s * rate) // size) * size for s in (FRAME_SECONDS, 1.0))
    frame = Case("frame", 1, short, short / rate)
    return [frame, *(Case("second", batch, whole, whole / rate) for batch in batches)]


class Workload:
    """Inputs cut from a recording at the level of the network's training, and their SNR.

    The reference is the published network in float32 on the processor: on a GPU float32 may mean
    TF32.
    """

    def __init__(self, model: LoadedModel) -> None:
        speech = torch.from_numpy(read_speech())
        self._speech = level_gain(speech, model.processing.level, 1e-6) * speech
        self._network = model.network
        self._stft = model.spec.stft
        self._expected: dict[tuple[Job, CaseName], Float32Array] = {}

    def inputs(self, job: Job, case: Case) -> Float32Array:
        """Waveforms [B, N], or spectra [B, 2, F, T]; [B, 1, N] for networks without an STFT."""
        starts = np.linspace(0, len(self._speech) - case.samples, _CUTS).astype(int)
        rows = [starts[row % _CUTS] for row in range(case.batch)]
        waves = torch.stack([self._speech[start : start + case.samples] for start in rows])
        if self._stft is None:
            return waves[:, None].numpy()
        if job == "pipeline":
            return waves.numpy()
        spectra: Tensor = StftAnalysis(self._stft)(waves)
        return spectra.contiguous().numpy()

    def snr_db(self, job: Job, case: Case, outputs: Float32Array) -> float | None:
        """How close outputs come to the reference's, in dB; None where they are not finite.

        Waveforms are compared as spectra: the published inverse STFT divides the edges by a window
        that is near zero there, so that they alone would decide.
        """
        if not np.isfinite(outputs).all():
            return None
        expected = self._reference(job, case)
        rows = np.arange(case.batch) % _CUTS
        snr = snr_db(expected[rows], self._comparable(job, torch.from_numpy(outputs)))
        return min(snr, _IDENTICAL_DB)

    @torch.inference_mode()
    def _reference(self, job: Job, case: Case) -> Float32Array:
        key = (job, case.name)
        if key not in self._expected:
            distinct = Case(case.name, _CUTS, case.samples, case.seconds)
            network = self._network.eval()
            if job == "pipeline" and self._stft is not None:
                network = WaveformNetwork(network, self._stft)
            outputs = network(torch.from_numpy(self.inputs(job, distinct)))
            self._expected[key] = self._comparable(job, outputs)
        return self._expected[key]

    def _comparable(self, job: Job, outputs: Tensor) -> Float32Array:
        if job == "pipeline" and self._stft is not None:
            outputs = StftAnalysis(self._stft)(outputs)
        return outputs.numpy()
