from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from frcrn_export.exporters.families.frcrn.long import PIECE_FRAMES
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.onnx_versions import lower_versions, opset_of
from frcrn_export.runtime.audio.measures import snr_db


def test_a_network_without_a_long_memory_has_none() -> None:
    model = load_model("wave-unet-16k", seed=0)
    assert model.family.extra_cores(model.spec, model.network) == ()


def weights_outside(graph: onnx.GraphProto) -> set[str]:
    """Weights that a convolution in a scan reads, and that do not lie in its body.

    ONNX Runtime is 1.7 times as slow with them.
    """
    found = set[str]()
    bodies = [each.g for node in graph.node for each in node.attribute if each.HasField("g")]
    for body in bodies:
        inside = {tensor.name for tensor in body.initializer}
        for node in body.node:
            if node.op_type in ("Conv", "ConvTranspose"):
                found.update(set(node.input[1:]) - inside)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pooling", "scans"),
    [
        # For each U-Net the encoders, four decoders, the last two decoders.
        ("frcrn-16k", "global", 12),
        ("frcrn-16k-512", "global", 12),
        # Each U-Net as a whole.
        ("frcrn-16k", "cumulative", 2),
        ("frcrn-16k-512", "window:0.7", 2),
    ],
)
def test_equals_the_reference_and_scans_over_pieces(
    name: str, pooling: str, scans: int, tmp_path: Path
) -> None:
    import onnxruntime

    model = load_model(name, seed=0, options={"squeeze_excite": pooling})
    (core,) = model.family.extra_cores(model.spec, model.network)
    assert model.spec.stft is not None
    graph = core.export("long", {"weights": "none"})
    assert {entry.key: entry.value for entry in graph.metadata_props}["weights"] == "none"
    assert [node.op_type for node in graph.graph.node].count("Scan") == scans
    assert weights_outside(graph.graph) == set()
    lower_versions(graph, "core.long.onnx")
    assert opset_of(graph) <= 16
    onnx.save(graph, tmp_path / "long.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "long.onnx")
    for frames in (1, PIECE_FRAMES - 7, PIECE_FRAMES - 6, 4 * PIECE_FRAMES + 22):
        spec = 0.3 * torch.randn(1, 2, model.spec.stft.bins, frames)
        with torch.inference_mode():
            expected = model.network(spec).numpy()
        output = np.asarray(session.run(None, {"spec": spec.numpy()})[0])
        assert output.shape == expected.shape
        assert snr_db(expected, output) > 100
