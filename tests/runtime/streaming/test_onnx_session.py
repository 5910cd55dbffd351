from pathlib import Path

import pytest

from frcrn_export.runtime.bundle import open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.streaming.session import open_stream_session
from tests.bundles import replace_core, write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle


def test_an_onnx_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = write_streaming_bundle(tmp_path / "bundle", Core(lookahead=2), stft=None)
    foreign = write_bundle(tmp_path / "foreign") / "core.onnx"
    replace_core(path, foreign.read_bytes())
    with pytest.raises(BackendError) as caught:
        open_stream_session(open_bundle(path), "onnxruntime-cpu", 1)
    message = str(caught.value)
    assert "core.streaming.onnx: not the file that the manifest describes" in message
    assert "inputs: inputs, past, wave; run: frcrn-export onnx --model gain" in message
