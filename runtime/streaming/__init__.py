"""Streams: denoising in real time."""

from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.multi import MultiStream
from frcrn_export.runtime.streaming.transforms import Latency

__all__ = ["Latency", "MultiStream", "StreamingDenoiser"]
