"""Which container and subtype an output gets: the suffix decides, and the input's depth is kept."""

import io
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from frcrn_export.runtime.audio.source import AudioSource
from frcrn_export.runtime.errors import AudioError, reason

# Suffixes by libsndfile's name of the container; every other container has its name as suffix.
# RAW has no header, and a MATLAB file is seldom audio: those are taken only when named.
_SUFFIXES = {
    "AIFF": (".aif", ".aifc", ".aiff"),
    "AU": (".au", ".snd"),
    "IRCAM": (".ircam", ".sf"),
    "NIST": (".nist", ".sph"),
    "OGG": (".oga", ".ogg", ".opus"),
    "RAW": (),
    "MAT4": (),
    "MAT5": (),
    "SVX": (".8svx", ".iff", ".svx"),
    "WAV": (".wav", ".wave"),
}
# SD2 needs a second file; the others hold a few seconds, one rate, or parts of an instrument.
_NOT_WRITTEN = frozenset({"RAW", "MAT4", "MAT5", "SD2", "SDS", "WVE", "XI"})

# The subtypes that a new container may get, by their bits, which are never fewer than the input's
# where the container has them. FLOAT stands for more than 32 bits: it has no full scale.
_DEPTHS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 33, "DOUBLE": 64}
_DEPTH_OF = {**_DEPTHS, "ALAC_20": 24, "ALAC_24": 24, "ALAC_32": 32, "DWVW_24": 24}

_LOSSY = frozenset({"MP3", "OGG"})
_WAV_FAMILY = ("WAV", "WAVEX", "RF64", "W64")

# The most bytes of samples. Sizes in AIFF and IFF are signed; of WAV the rest is for the header.
_MAX_BYTES = {
    **dict.fromkeys(("WAV", "WAVEX"), (1 << 32) - (1 << 20)),
    **dict.fromkeys(("RF64", "W64", "CAF", "FLAC", "OGG", "MP3"), 1 << 62),
    "VOC": (1 << 24) - 64,
}
_MAX_BYTES_OTHERS = (1 << 31) - (1 << 20)
_SAMPLE_BYTES = {
    **dict.fromkeys(("PCM_24", "ALAC_20", "ALAC_24"), 3),
    **dict.fromkeys(("PCM_32", "FLOAT", "ALAC_32"), 4),
    **dict.fromkeys(("PCM_S8", "PCM_U8", "ULAW", "ALAW"), 1),
    "DOUBLE": 8,
}
_SAY = {"MPEG_LAYER_III": "MP3", "OPUS": "Opus", "VORBIS": "Vorbis"}
_RATES = {
    "OPUS": "8000, 12000, 16000, 24000 or 48000 Hz",
    "MPEG_LAYER_III": "8000 to 48000 Hz, 1 or 2 channels",
}


@dataclass(frozen=True)
class AudioFormat:
    """A container and a subtype, by libsndfile's names."""

    container: str
    subtype: str


@cache
def audio_suffixes() -> dict[str, str]:
    """The suffixes, in lower case, of the audio that libsndfile reads, and their containers."""
    import soundfile

    return {
        suffix: container
        for container in soundfile.available_formats()
        for suffix in _SUFFIXES.get(container, (f".{container.lower()}",))
    }


def written_suffixes() -> dict[str, str]:
    """The suffixes that an output may have, and their containers."""
    return {s: name for s, name in audio_suffixes().items() if name not in _NOT_WRITTEN}


def check_suffix(path: Path) -> None:
    """Raise AudioError where no audio can be written under this name."""
    suffix = path.suffix.lower()
    if suffix not in written_suffixes():
        problem = "is read, not written" if suffix in audio_suffixes() else "is no audio format"
        raise AudioError(f"{path}: {path.suffix!r} {problem}; use .wav, .flac or .ogg")


def output_format(path: Path, source: AudioSource, like: AudioFormat) -> AudioFormat:
    """The format of a new file for the samples of `source`, which came in the format `like`.

    The suffix decides the container. The subtype is kept within a family of containers where the
    container can hold it; otherwise it is the first of 16, 24, 32 bits, float and double that loses
    no depth, or the deepest there is. WAV that would exceed 4 GiB becomes RF64.

    Raises:
        AudioError: The suffix is unknown or not written, the codec refuses the rate or the
            channels, or the container is too small.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    container = written_suffixes()[suffix]
    if container == "WAV" and like.container == "WAVEX":
        container = "WAVEX"
    subtypes = _subtypes(container, suffix, like)
    refused = ""
    for subtype in subtypes:
        format = AudioFormat(_large_enough(path, container, subtype, source), subtype)
        granule, refused = _granule(format, source.sample_rate, source.channels)
        if granule and source.frames % granule == 0:
            return format
    name = _SAY.get(subtypes[-1], container)
    takes = _RATES.get(subtypes[-1])
    raise AudioError(
        f"{path}: {name} does not take {source.sample_rate} Hz with {source.channels} channels "
        f"({f'it takes {takes}' if takes else refused}); use .wav or .flac"
    )


@cache
def _offered(container: str) -> tuple[str, ...]:
    import soundfile

    return tuple(soundfile.available_subtypes(container))


def _subtypes(container: str, suffix: str, like: AudioFormat) -> list[str]:
    """The subtypes to try, best first."""
    import soundfile

    if container == "OGG":
        return ["OPUS" if suffix == ".opus" else "VORBIS"]
    offered = _offered(container)
    family = container == like.container or {container, like.container} <= set(_WAV_FAMILY)
    kept = [like.subtype] if family and like.subtype in offered else []
    depth = _DEPTH_OF.get(like.subtype, 16)
    deep = [subtype for subtype in _DEPTHS if subtype in offered]
    enough = [subtype for subtype in deep if _DEPTHS[subtype] >= depth]
    return [*kept, *enough, *reversed(deep), soundfile.default_subtype(container)]


def _large_enough(path: Path, container: str, subtype: str, source: AudioSource) -> str:
    """The container, or RF64 where WAV is too small. Raises AudioError where another one is."""
    size = source.frames * source.channels * _SAMPLE_BYTES.get(subtype, 2)
    most = _MAX_BYTES.get(container, _MAX_BYTES_OTHERS)
    if size <= most:
        return container
    if container in ("WAV", "WAVEX"):
        return "RF64"
    raise AudioError(
        f"{path}: {size / 1e9:.2f} GB of samples, {container} holds {most / 1e9:.2f} GB; "
        "use .wav (as RF64), .w64, .caf or .flac"
    )


@lru_cache(maxsize=256)
def _granule(format: AudioFormat, sample_rate: int, channels: int) -> tuple[int, str]:
    """What lengths a format keeps: the multiples of a number of frames; or 0, and why.

    Tried in memory: some codecs count in blocks, some containers keep no other rate than theirs.
    """
    try:
        least = _frames_read(format, sample_rate, channels, 1)
        if least > 1 and _frames_read(format, sample_rate, channels, least) != least:
            return 0, "it keeps no length"
    except Exception as error:  # the codec decides what is raised
        return 0, reason(error)
    return least, ""


def _frames_read(format: AudioFormat, sample_rate: int, channels: int, frames: int) -> int:
    """Write some silence, and read how long it is then."""
    import soundfile

    memory = io.BytesIO()
    how = {"format": format.container, "subtype": format.subtype}
    with soundfile.SoundFile(memory, "w", sample_rate, channels, **how) as file:
        file.write(np.zeros((frames, channels), np.float32))
    if format.container in _LOSSY:
        return frames  # their readers trim what the encoder added
    memory.seek(0)
    with soundfile.SoundFile(memory) as file:
        if (file.samplerate, file.channels) != (sample_rate, channels):
            raise ValueError(f"it would say {file.samplerate} Hz, {file.channels} channels")
        read: int = file.frames
    return read
