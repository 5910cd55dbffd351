"""The streaming denoiser: one stream, block by block."""

from pathlib import Path
from typing import Any

import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.processes import OfOneProcess
from frcrn_export.runtime.streaming.network import Network, open_network
from frcrn_export.runtime.streaming.stream import advance
from frcrn_export.runtime.streaming.transforms import Latency


class StreamingDenoiser(OfOneProcess):
    """Denoises one stream of speech in real time. Not thread-safe.

    Sample i of the concatenated output of `process` and `flush` belongs to sample i of the input.

    Example:
        >>> denoiser = frcrn_export.StreamingDenoiser.open("wave")
        >>> blocks = soundfile.blocks("noisy.wav", 441, dtype="float32")  # or a microphone
        >>> clean = [denoiser.process(block) for block in blocks]
        >>> clean.append(denoiser.flush())
        >>> sum(map(len, clean)) == soundfile.info("noisy.wav").frames
        True
    """

    def __init__(
        self,
        network: Network,
        gain: float | None = None,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
    ) -> None:
        self._network = network
        self._stream = network.stream(gain, restore_level, attenuation_limit)

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str,
        backend: str = "auto",
        threads: int | None = None,
        *,
        sample_rate: int | None = None,
        gain: float | None = None,
        restore_level: bool = True,
        attenuation_limit: float | None = None,
        windowed: bool | float = False,
        precision: Precision | None = None,
        high_pass: bool | None = None,
    ) -> "StreamingDenoiser":
        """Open a bundle that has a streaming core, or with `windowed` any bundle.

        Args:
            bundle: A bundle, or its folder.
            backend: "auto" or a name in `frcrn_export.runtime.sessions.BACKENDS`.
            threads: Processor threads; None is one, with `windowed` one for each processor that
                this process may use.
            sample_rate: Of the audio, in Hz; an error if it is not the bundle's. None: not checked.
            gain: A fixed linear input gain; turns the automatic level off.
            restore_level: Restore the level of the input; False keeps the level that the network
                works at.
            attenuation_limit: The most that noise is lowered by, in dB from 0; None is no limit.
            windowed: For networks that cannot stream: run the offline core on overlapping windows.
                True for 1 s or the network's fixed length, else the length in seconds. `latency`
                has the delay and the cost.
            precision: "fp32", "fp16", "int8" or "fp8"; None takes float32, of engines float16
                first, never 8 bits.
            high_pass: Whether DC and infrasound are taken out first; None is the bundle's choice.

        Returns:
            A denoiser for one stream.

        Raises:
            BundleError: The bundle is missing, was altered, or has no streaming core.
            BackendError: The backend is unknown, not installed, or cannot run this bundle here.
            AudioError: `sample_rate` is not the bundle's.
            UserError: An argument that is invalid for this bundle.
        """
        network = open_network(
            bundle,
            backend,
            threads,
            sample_rate,
            windowed,
            precision=precision,
            high_pass=high_pass,
        )
        return cls(network, gain, restore_level, attenuation_limit)

    def process(self, block: npt.NDArray[Any]) -> Float32Array:
        """Denoise the next block of the stream.

        Args:
            block: [n] floats in [-1, 1] at the bundle's rate, n >= 0. Samples that are NaN or
                infinite (or beyond 65536) become 0, see `replaced_samples`.

        Returns:
            [m] float32: the next finished samples, `latency` behind the input; m may be 0.

        Raises:
            AudioError: Anything but a mono array of floats.
            BackendError: This is a forked child of the process that opened it.
            UserError: The stream has ended, see `flush`.
        """
        self._stream.push(block)
        return self._advance()

    def flush(self) -> Float32Array:
        """End the stream.

        Returns:
            [m] float32: the remaining samples; as many came out as went in.

        Raises:
            UserError: The stream has ended already.
        """
        self._stream.finish()
        return self._advance()

    def reset(self) -> None:
        """Reset states, level, pending samples and counts, for a new stream."""
        self._stream.reset()
        self._network.session.reset()

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._network.manifest

    @property
    def sample_rate(self) -> int:
        """The sample rate of blocks, in Hz."""
        return self.manifest.sample_rate

    @property
    def backend(self) -> str:
        """The name of the backend."""
        return self._network.session.backend

    @property
    def device(self) -> str:
        """Where the network runs: "cpu" or "cuda"."""
        return self._network.session.device

    @property
    def latency(self) -> Latency:
        """The algorithmic delay and its causes."""
        return self._stream.transform.latency

    @property
    def latency_samples(self) -> int:
        """The algorithmic delay in samples."""
        return self.latency.samples

    @property
    def replaced_samples(self) -> int:
        """How many samples of this stream were not finite and became 0."""
        return self._stream.replaced_samples

    @property
    def failed_calls(self) -> int:
        """How many calls of the network gave NaN or infinity: silence, and a new beginning."""
        return self._stream.failed_calls

    @property
    def limited_calls(self) -> int:
        """How many calls got less than was given: it was louder than the precision holds."""
        return self._stream.limited_calls

    def _advance(self) -> Float32Array:
        self.require_own_process()
        while self._stream.ready:
            advance(self._network.session, [self._stream])
        return self._stream.pull()
