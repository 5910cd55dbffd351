"""What kind of file it is, by its first bytes."""

MAGIC_BYTES = 64

_BEGINS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"riff": "W64",
    b"RIFX": "big-endian WAV",
    b"BW64": "BW64",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"0&\xb2u\x8ef\xcf\x11": "WMA",
    b"#!AMR": "AMR",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"TTA1": "True Audio",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"DSD ": "DSD",
    b"FRM8": "DSDIFF",
    b"NIST_1A": "NIST SPHERE",
    b"Creative Voice File": "VOC",
    b"ajkg": "Shorten",
    b".RMF": "RealMedia",
    b".ra\xfd": "RealAudio",
    b"FLV": "Flash video",
    b"\x0bw": "AC-3",
    b"\x7f\xfe\x80\x01": "DTS",
    b"#!SILK_V3": "SILK",
    b"\x02#!SILK_V3": "SILK",
    b"2BIT": "AVR",
    b" paf": "PAF",
    b"PVF1": "PVF",
    b"ALawSoundFile": "WVE",
    b"Extended Instrument": "XI",
    b"MATLAB": "MATLAB",
}
_NOT_AUDIO = {
    b"MThd": "MIDI",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "a 7z archive",
    b"%PDF": "PDF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"\x7fELF": "a program",
    b"\x00\x05\x16\x07": "a resource fork of macOS",
}
_RIFF_KINDS = {b"WAVE": "WAV", b"AVI ": "AVI", b"sfbk": "SoundFont", b"WEBP": "WebP"}


def kind_of(begin: bytes) -> str:
    """The name of the format of a file that begins with these bytes; "" where it is not known."""
    if begin[:4] in (b"RIFF", b"RF64"):
        return _RIFF_KINDS.get(begin[8:12], "RIFF, but not WAV")
    if begin[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "MP4"
    for magic, name in (_BEGINS | _NOT_AUDIO).items():
        if begin.startswith(magic):
            return name
    if len(begin) >= 377 and begin[0] == begin[188] == begin[376] == 0x47:
        return "MPEG transport stream"
    return _mpeg(begin) or ("text" if _is_text(begin) else "")


def has_audio(kind: str) -> bool:
    """Whether there may be audio in a file of this kind, or of none that is known."""
    return kind not in ("text", "WebP", *_NOT_AUDIO.values())


def _mpeg(begin: bytes) -> str:
    """AAC in ADTS or MPEG audio by the header of a frame, 12 bits of which are set."""
    if len(begin) < 4 or begin[0] != 0xFF or begin[1] & 0xE0 != 0xE0:
        return ""
    layer = begin[1] >> 1 & 3
    if layer == 0:
        return "AAC" if begin[1] & 0xF0 == 0xF0 and begin[2] >> 2 & 15 < 13 else ""
    version, bit_rate, rate = begin[1] >> 3 & 3, begin[2] >> 4, begin[2] >> 2 & 3
    if version == 1 or bit_rate == 15 or rate == 3:
        return ""
    return {1: "MP3", 2: "MP2", 3: "MP1"}[layer]


def _is_text(begin: bytes) -> bool:
    text = begin.removeprefix(b"\xef\xbb\xbf")[:MAGIC_BYTES]
    return len(text) > 7 and all(byte in b"\t\n\r\f\x1b" or 32 <= byte < 127 for byte in text)
