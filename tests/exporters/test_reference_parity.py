import shutil
from pathlib import Path

import pytest

from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.reference_parity import check_reference
from frcrn_export.exporters.streaming_export import StreamingForms, StreamingOptions
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from tests.bundles import leave_out


@pytest.mark.slow
def test_a_pack_without_the_float32_stream(
    small_wave_model: LoadedModel, small_wave_bundle: Bundle, tmp_path: Path
) -> None:
    """Its streams are compared with the network, and with no float32 core that it does not have."""
    path = Path(shutil.copytree(small_wave_bundle.path, tmp_path / "pack"))
    leave_out(path, "core.onnx", "core.fp16.onnx", "core.streaming.onnx")
    forms = StreamingForms(small_wave_model, StreamingOptions(chunk=8))
    results = list(check_reference(open_bundle(path), forms))
    assert {result.artifact for result in results} == {"core.streaming.fp16.onnx"}
    assert all(result.case.startswith("reference.streaming.") for result in results)
    assert all(result.passed for result in results)
