"""From the microphone to the speakers, through the package sounddevice."""

from collections.abc import Callable
from typing import Any

import numpy as np

from frcrn_export.runtime.errors import AudioError, UserError
from frcrn_export.runtime.streaming.audio_stream import AudioStream, Meter
from frcrn_export.runtime.streaming.pipe import Interrupt

_AHEAD_BLOCKS = 2  # of silence in front of the speakers, so that a late block is not heard at once


class Live:
    """The default microphone and speakers, `block_frames` at a time. Raises UserError, AudioError.

    `dropouts` counts how often the devices lost samples or had none to play; `device_ms` is the
    devices' own delay, with the silence in front of the speakers.
    """

    def __init__(self, stream: AudioStream, block_frames: int) -> None:
        self._stream, self._block_frames = stream, block_frames
        self._sounddevice = _sounddevice()
        self.dropouts = 0
        self.device_ms = 0.0

    def run(self, meter: Meter, interrupt: Interrupt, show: Callable[[], None]) -> None:
        """Until an interrupt."""
        stream, rate = self._stream, self._stream.sample_rate
        try:
            with self._sounddevice.Stream(
                samplerate=rate,
                blocksize=self._block_frames,
                channels=stream.channels,
                dtype="float32",
            ) as device:
                ahead = np.zeros((_AHEAD_BLOCKS * self._block_frames, stream.channels), np.float32)
                self.device_ms = 1000 * (sum(device.latency) + len(ahead) / rate)
                device.write(ahead)
                while (
                    taken := interrupt.reading(lambda: device.read(self._block_frames))
                ) is not None:
                    block, lost = taken
                    with meter.call():
                        done = stream.process(block.T)
                    empty = done.shape[1] and device.write(np.ascontiguousarray(done.T))
                    self.dropouts += bool(lost) + bool(empty)
                    show()
        except self._sounddevice.PortAudioError as error:
            raise AudioError(
                f"no microphone and speakers at {rate} Hz ({error}); see what there is: "
                "python -m sounddevice; another rate: --rate 48000"
            ) from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise UserError(
            'sounddevice is not installed; run: pip install "frcrn-export[live]"'
        ) from error
    except OSError as error:  # it loads PortAudio, a package of its own on some systems
        raise UserError(
            f"sounddevice does not load ({error}); on Debian or Ubuntu run: "
            "sudo apt install libportaudio2"
        ) from error
    return sounddevice
