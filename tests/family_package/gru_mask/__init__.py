"""A mask network of convolutions and a GRU at 48 kHz: `gru-mask-48k`."""

from gru_mask.family import FAMILY

__all__ = ["FAMILY"]
