"""A host of LADSPA plugins, through ctypes."""

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_float, c_int, c_ulong, c_void_p
from pathlib import Path

import numpy as np

_OF_INSTANCE = CFUNCTYPE(None, c_void_p)


class _Hint(Structure):
    _fields_ = [("descriptor", c_int), ("lower", c_float), ("upper", c_float)]


class Descriptor(Structure):
    """As in ladspa.h."""


Descriptor._fields_ = [
    ("id", c_ulong),
    ("label", c_char_p),
    ("properties", c_int),
    ("name", c_char_p),
    ("maker", c_char_p),
    ("copyright", c_char_p),
    ("port_count", c_ulong),
    ("ports", POINTER(c_int)),
    ("port_names", POINTER(c_char_p)),
    ("hints", POINTER(_Hint)),
    ("data", c_void_p),
    ("instantiate", CFUNCTYPE(c_void_p, POINTER(Descriptor), c_ulong)),
    ("connect_port", CFUNCTYPE(None, c_void_p, c_ulong, POINTER(c_float))),
    ("activate", _OF_INSTANCE),
    ("run", CFUNCTYPE(None, c_void_p, c_ulong)),
    ("run_adding", c_void_p),
    ("set_gain", c_void_p),
    ("deactivate", _OF_INSTANCE),
    ("cleanup", _OF_INSTANCE),
]


class Plugin:
    """An instance of a plugin of the file: `frcrn_mono` or `frcrn_stereo`."""

    def __init__(self, file: Path, channels: int, sample_rate: int = 16_000) -> None:
        find = ctypes.CDLL(str(file)).ladspa_descriptor
        find.argtypes, find.restype = (c_ulong,), POINTER(Descriptor)
        assert not find(2)
        self.descriptor = find(channels - 1).contents
        self.channels = channels
        self.handle = self.descriptor.instantiate(ctypes.byref(self.descriptor), sample_rate)
        assert self.handle
        self.controls = np.array([100, 1, -1, -1], np.float32)  # limit, wait, latency, active
        for index in range(len(self.controls)):
            self._connect(2 * channels + index, self.controls[index:])

    def activate(self) -> None:
        self.descriptor.activate(self.handle)

    def deactivate(self) -> None:
        self.descriptor.deactivate(self.handle)

    def cleanup(self) -> None:
        self.descriptor.cleanup(self.handle)

    def run(self, block: np.ndarray, outputs: tuple[int, ...] | None = None) -> np.ndarray:
        """The next samples [C, n]. `outputs`: in place, in the buffers of these inputs."""
        given = np.array(block, np.float32, order="C")
        out = given if outputs else np.empty_like(given)
        for index in range(self.channels):
            self._connect(index, given[index])
            self._connect(self.channels + index, out[outputs[index] if outputs else index])
        self.descriptor.run(self.handle, given.shape[1])
        return out[list(outputs)] if outputs else out

    def _connect(self, port: int, place: np.ndarray) -> None:
        pointer = place.ctypes.data_as(POINTER(c_float))
        self.descriptor.connect_port(self.handle, port, pointer)
