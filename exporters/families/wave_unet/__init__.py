"""Wave-U-Net of strided convolutions: `wave-unet-16k`, the default."""

from frcrn_export.exporters.families.wave_unet.family import FAMILY

__all__ = ["FAMILY"]
