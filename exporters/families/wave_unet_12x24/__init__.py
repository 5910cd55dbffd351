"""The published 12-layer Wave-U-Net with interpolation: `wave-unet-12x24`."""

from frcrn_export.exporters.families.wave_unet_12x24.family import FAMILY

__all__ = ["FAMILY"]
