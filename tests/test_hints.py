"""What a hint says to install brings what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import write_bundle

SPEECH = Path(__file__).parents[1] / "exporters" / "assets" / "demo.noisy.flac"


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        (("onnxruntime",), ("denoise", "{bundle}", str(SPEECH), "-o", "{out}"), "cpu"),
        (
            ("onnxruntime",),
            ("denoise", "{bundle}", str(SPEECH), "-o", "{out}", "-b", "onnxruntime-cpu"),
            "cpu",
        ),
        (("torch",), ("denoise", "{bundle}", str(SPEECH), "-o", "{out}", "-b", "torchscript"), ""),
        (("matplotlib",), ("denoise", "{bundle}", str(SPEECH), "-o", "{out}", "--plot"), "plot"),
        (("torch",), ("onnx", "-o", "{out}"), "export"),
        (("onnx",), ("inspect", "{bundle}"), "export"),
        (("pystoi",), ("evaluate", "{bundle}", "--pairs", str(SPEECH.parent)), "quality"),
        (("tensorrt_rtx",), ("trt", "{bundle}", "--backend", "tensorrt-rtx"), "rtx"),
    ],
)
def test_the_extra_of_a_hint(
    missing: tuple[str, ...], command: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    words = [word.format(bundle=bundle, out=tmp_path / "out.wav") for word in command]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from frcrn_export.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    if extra:
        assert f'pip install "frcrn-export[{extra}]"' in said
    else:
        assert "export]" in said or "core.pt" in said or "no torchscript" in said.lower()
