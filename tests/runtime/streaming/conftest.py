from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wave_unet_streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a Wave-U-Net with random weights: core and streaming core, one hop a call."""
    from frcrn_export.exporters.bundle import export_onnx
    from frcrn_export.exporters.loading import load_model
    from frcrn_export.exporters.streaming_export import StreamingOptions

    path = tmp_path_factory.mktemp("bundles") / "wave-unet-streaming"
    model = load_model("wave-unet-16k", seed=1)
    export_onnx(model, path, streaming=StreamingOptions())
    return path
