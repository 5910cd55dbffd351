from dataclasses import replace

import torch

from frcrn_export.exporters.families.wave_unet.training import WaveUNetTask
from tests.wave_unets import MASKING


def test_filters_give_the_waveform_back_where_nothing_is_masked() -> None:
    torch.manual_seed(0)
    config = replace(MASKING, bands=512, band_length=512, band_stride=128)
    network = WaveUNetTask(config).build()
    assert network.analysis is not None
    assert network.synthesis is not None
    wave = torch.randn(1, 1, 128 * 40)
    with torch.no_grad():
        error = network.synthesis(network.analysis(wave)) - wave
    assert float(error.square().mean()) < 0.01 * float(wave.square().mean())
