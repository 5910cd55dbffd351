"""Small networks of the masking form of wave-unet-16k."""

from frcrn_export.exporters.families.wave_unet.network import WaveUNetConfig

MASKING = WaveUNetConfig(
    channels=(6, 8),
    strides=(1, 2),
    kernel_size=3,
    context_blocks=3,
    context_cycle=2,
    bands=32,
    band_length=40,
    band_stride=16,
)
