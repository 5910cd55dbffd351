"""Synthetic room impulse responses, by the image source method."""

import numpy as np
import numpy.typing as npt

from frcrn_export.exporters.training_task import SAMPLE_RATE
from frcrn_export.runtime.arrays import Float32Array

SPEED_OF_SOUND = 343.0  # m/s
LOWEST_HZ = 100.0  # below it the images add up unrealistically
EARLY_SECONDS = 0.05  # early reflections; later ones are modelled as noise


def draw_room(rng: np.random.Generator, reverberation_s: tuple[float, float]) -> Float32Array:
    """The impulse response [N] of a random room with a talker and a microphone.

    It begins with the direct sound, of amplitude near 1. `reverberation_s` is the range of RT60.
    """
    size = rng.uniform((3.0, 3.0, 2.4), (9.0, 7.0, 3.5))  # m
    talker, microphone = rng.uniform(0.5, size - 0.5, (2, 3))
    return room_response(size, talker, microphone, rng.uniform(*reverberation_s), rng)


def room_response(
    size: npt.ArrayLike,
    talker: npt.ArrayLike,
    microphone: npt.ArrayLike,
    reverberation_s: float,
    rng: np.random.Generator,
) -> Float32Array:
    """The impulse response of a box: image sources first, then noise with the same decay.

    `size`, `talker` and `microphone` are (x, y, z) in m.
    Source: Allen and Berkley, "Image method for efficiently simulating small-room acoustics",
    1979, with their high-pass, without which the sum of the images boosts the lowest frequencies;
    the reflection coefficient from Eyring, "Reverberation time in dead rooms", 1930.
    """
    lengths, source, ear = (np.asarray(each, dtype=float) for each in (size, talker, microphone))
    distances, bounces = _images(lengths, source, ear)
    direct = float(np.linalg.norm(source - ear))
    delays = np.round((distances - direct) / SPEED_OF_SOUND * SAMPLE_RATE).astype(int)
    volume = float(np.prod(lengths))
    surface = 2.0 * float(np.sum(volume / lengths))
    reflection = np.exp(-0.5 * 0.161 * volume / (surface * reverberation_s))  # of the pressure
    heights = reflection**bounces * direct / distances

    early = round(EARLY_SECONDS * SAMPLE_RATE)
    response = np.zeros(early + round(reverberation_s * SAMPLE_RATE))
    inside = delays < early
    np.add.at(response, delays[inside], heights[inside])
    last = response[early // 2 : early]
    level = np.sqrt(np.mean(np.square(last)))  # in the middle of `last`
    after = (np.arange(len(response) - early) + early // 4) / SAMPLE_RATE
    decay = 10.0 ** (-3.0 * after / reverberation_s)
    response[early:] = level * decay * rng.standard_normal(len(after))
    return _high_pass(response).astype(np.float32)


def _high_pass(response: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two RC filters in series: causal and without ringing."""
    padded = 2 * len(response)
    ratio = 1j * np.fft.rfftfreq(padded, 1.0 / SAMPLE_RATE) / LOWEST_HZ
    spectrum = np.fft.rfft(response, padded) * np.square(ratio / (1.0 + ratio))
    return np.fft.irfft(spectrum, padded)[: len(response)]


def _images(
    lengths: npt.NDArray[np.float64],
    source: npt.NDArray[np.float64],
    ear: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The distance of each image source to the microphone, and its reflection order."""
    reach = EARLY_SECONDS * SPEED_OF_SOUND + float(np.linalg.norm(source - ear))
    offsets, bounces = [], []
    for length, at, hears in zip(lengths, source, ear, strict=True):
        most = int(reach // (2.0 * length)) + 1
        repeats = np.arange(-most, most + 1)[:, None]
        mirrored = np.array([0, 1])
        offsets.append((2 * repeats * length + (1 - 2 * mirrored) * at - hears).ravel())
        bounces.append((np.abs(repeats - mirrored) + np.abs(repeats)).ravel())
    x, y, z = np.meshgrid(*offsets, indexing="ij")
    met = np.meshgrid(*bounces, indexing="ij")
    return np.sqrt(x**2 + y**2 + z**2).ravel(), np.asarray(sum(met)).ravel()


def reverberate(audio: Float32Array, response: Float32Array) -> Float32Array:
    """`audio` [N] convolved with the room's response, [N]: the tail after its end is cut."""
    size = 1 << (len(audio) + len(response) - 2).bit_length()
    spectrum = np.fft.rfft(audio, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)
