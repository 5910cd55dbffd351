"""The streaming denoiser: one stream, block by block."""

from pathlib import Path
from typing import Any

import numpy.typing as npt

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.streaming.network import Network, open_network
from frcrn_export.runtime.streaming.stream import advance
from frcrn_export.runtime.streaming.transforms import Latency


class StreamingDenoiser:
    """Removes noise from one stream of speech while it goes on. For one thread.

    Sample i of all that `process` and `flush` return belongs to sample i of all that was given.

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
    ) -> "StreamingDenoiser":
        """Open a bundle that has a streaming core, or with `windowed` any bundle.

        Args:
            bundle: A bundle, or its folder.
            backend: "auto" or a name in `frcrn_export.runtime.sessions.BACKENDS`.
            threads: Limit of processor threads; None is the backend's own choice.
            sample_rate: What the audio has, in Hz, to be sure that it is the bundle's.
            gain: A fixed linear input gain; turns the automatic level off.
            restore_level: Give the result at the level of the input, not at the one that the
                network works at.
            attenuation_limit: By how many dB noise may fall at most, 0 or more; None is no limit.
            windowed: For networks that cannot stream: compute overlapping windows with the offline
                core, True for 1 s or the one length that it takes, or the length in seconds.
                `latency` has the delay and the cost.
            precision: "fp32", "fp16", "int8" or "fp8"; None is float32, of engines float16 first,
                and never 8 bits.

        Returns:
            A denoiser for one stream.

        Raises:
            BundleError: The bundle is missing, was altered, or has no streaming core.
            BackendError: The backend is unknown, not installed, or cannot run this bundle here.
            AudioError: `sample_rate` is not the bundle's.
            UserError: An argument that makes no sense for this bundle.
        """
        network = open_network(bundle, backend, threads, sample_rate, windowed, precision=precision)
        return cls(network, gain, restore_level, attenuation_limit)

    def process(self, block: npt.NDArray[Any]) -> Float32Array:
        """Take a block of the stream, and give what is done.

        Args:
            block: [n] floats in [-1, 1] at the bundle's rate, n >= 0. Samples that are NaN or
                infinite (or beyond 65536) become 0, see `replaced_samples`.

        Returns:
            [m] float32: the next samples of the stream, `latency` behind.

        Raises:
            AudioError: Anything but a mono array of floats.
            UserError: The stream has ended, see `flush`.
        """
        self._stream.push(block)
        return self._advance()

    def flush(self) -> Float32Array:
        """End the stream.

        Returns:
            [m] float32: the rest, so that as many samples came out as went in.

        Raises:
            UserError: The stream has ended already.
        """
        self._stream.finish()
        return self._advance()

    def reset(self) -> None:
        """Forget the stream: states, level, waiting samples and counts; the next one can begin."""
        self._stream.reset()
        self._network.session.reset()

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._network.manifest

    @property
    def sample_rate(self) -> int:
        """What blocks must have, in Hz."""
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

    def _advance(self) -> Float32Array:
        while self._stream.ready:
            advance(self._network.session, [self._stream])
        return self._stream.pull()
