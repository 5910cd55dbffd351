"""FRCRN: `frcrn-16k` as published, and `frcrn-16k-512`."""

from frcrn_export.exporters.families.frcrn.family import FAMILY

__all__ = ["FAMILY"]
