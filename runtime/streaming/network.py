"""A bundle opened for streams: the session, and the parts of each stream around it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from frcrn_export.runtime.audio.attenuation import noisy_share
from frcrn_export.runtime.audio.high_pass import HighPassFilter
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest, Precision
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import AudioError
from frcrn_export.runtime.streaming.level import stream_level
from frcrn_export.runtime.streaming.session import StreamSession, open_stream_session
from frcrn_export.runtime.streaming.stream import Stream
from frcrn_export.runtime.streaming.transforms import SpectrumTransform, Transform, WaveTransform


@dataclass(frozen=True)
class Network:
    """The network of one or many streams."""

    manifest: Manifest
    session: StreamSession
    transform: Callable[[], Transform]

    def stream(
        self, gain: float | None, restore_level: bool, attenuation_limit: float | None = None
    ) -> Stream:
        """A new stream. `gain`: a fixed input gain; `attenuation_limit`: in dB."""
        transform = self.transform()
        rule, rate = self.manifest.level, self.manifest.sample_rate
        level = stream_level(rule, gain, rate, transform.gain_interval)
        spec = self.manifest.high_pass
        high_pass = None if spec is None else HighPassFilter(spec.streaming_cutoff_hz, rate)
        share = noisy_share(attenuation_limit)
        return Stream(transform, level, restore_level, share, high_pass)


def open_network(
    bundle: Bundle | Path | str,
    backend: str,
    threads: int | None,
    sample_rate: int | None = None,
    windowed: bool | float = False,
    batch: int = 1,
    precision: Precision | None = None,
    high_pass: bool | None = None,
) -> Network:
    """Open a bundle for streams; the arguments are those of `StreamingDenoiser.open`.

    `batch`: the rows that an engine must have. Raises BundleError, BackendError, AudioError,
    UserError.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    manifest = opened.manifest.with_high_pass(high_pass)
    opened = replace(opened, manifest=manifest)
    rate = manifest.sample_rate
    if sample_rate not in (None, rate):
        raise AudioError(
            f"streams of this bundle have {rate} Hz, not {sample_rate}; resample the blocks: "
            f"soxr.ResampleStream({sample_rate}, {rate}, 1)"
        )
    if windowed is False:
        return network_of(opened, open_stream_session(opened, backend, threads, batch, precision))
    from frcrn_export.runtime.streaming.windowed import WindowTransform, open_windowed

    seconds = None if windowed is True else windowed
    session, windows = open_windowed(opened, backend, threads, seconds, precision)
    return Network(manifest, session, lambda: WindowTransform(windows, rate))


def network_of(bundle: Bundle, session: StreamSession) -> Network:
    """The `Network` of a session of the bundle."""
    manifest, entry = bundle.manifest, session.entry
    return Network(manifest, session, lambda: stream_transform(manifest, entry))


def stream_transform(manifest: Manifest, entry: FileEntry) -> Transform:
    """The transform between a stream and a streaming core of the bundle."""
    info = entry.streaming
    assert info is not None
    if manifest.stft is None:
        return WaveTransform(info, manifest.padding)
    return SpectrumTransform(manifest.stft, info, manifest.padding)
