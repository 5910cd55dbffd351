"""What `inspect` says that the exported models cost, in floating-point operations a second.

FRCRN's cores are counted in tests/test_readme.py, which exports them.
"""

from pathlib import Path

from frcrn_export.exporters.artifacts import INLINE
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.bundle.graph_cost import graph_cost

SECOND = {"batch": 1, "frames": 49, "samples": 16_384}  # 16000 samples


def test_one_file_costs_what_its_core_does(wave_unet_bundle: Path, tmp_path: Path) -> None:
    """The levels and lengths around a time-domain core have no layers."""
    content, entry = INLINE.make(StreamingForms(load_model("wave-unet-16k", seed=1)))
    (tmp_path / entry.path).write_bytes(content)
    core = graph_cost(wave_unet_bundle / "core.onnx", SECOND).flop
    assert core
    assert graph_cost(tmp_path / "denoiser.onnx", SECOND).flop == core
