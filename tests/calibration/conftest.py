"""Recordings to calibrate on, and a pair to judge by."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.calibration import calibrate, result
from frcrn_export.exporters.assets import ASSETS
from tests.calibration.bundles import speed, write_masking_bundle
from tests.pairs import RATE, Signal, write_pair

# Where pesq could not be compiled, `make install` goes on without the extra [quality].
collect_ignore_glob = [] if find_spec("pesq") else ["test_*.py"]


# What they need besides; where pesq could not be compiled, `make install` goes on without it.
_QUALITY = ("test_calibrate.py", "test_command.py", "test_plan.py", "test_result.py")
collect_ignore = [] if find_spec("pesq") and find_spec("matplotlib") else list(_QUALITY)


def write_clips(folder: Path, gain: float = 1.0) -> Path:
    """Two recordings of 1.2 s, one much louder than the other."""
    speech: Signal = soundfile.read(ASSETS / "speech.flac", dtype="float32")[0]
    folder.mkdir(parents=True)
    length = RATE * 6 // 5
    for index, start in enumerate((0, len(speech) - length)):
        part = speech[start : start + length] * np.float32(gain / 8**index)
        soundfile.write(folder / f"{index}.wav", part, RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("recordings") / "clips")


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory, noisy: Signal, clean: Signal) -> Path:
    """A folder with one pair."""
    folder = tmp_path_factory.mktemp("recordings") / "pairs"
    write_pair(folder, "one", noisy[: 3 * RATE // 2], clean[: 3 * RATE // 2])
    return folder


@pytest.fixture
def masking_bundle(tmp_path: Path) -> Path:
    """With core.onnx and core.fp16.onnx."""
    return write_masking_bundle(tmp_path / "bundles" / "masking", fp16=True)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all else and are checked in test_int8_report_page.py."""
    monkeypatch.setattr(result, "draw", lambda report, worst: [("worst", b"a picture")])


@pytest.fixture
def twice_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine does meanwhile."""
    monkeypatch.setattr(calibrate, "measure_speed", lambda *args, **options: speed(2.0))


@pytest.fixture(scope="session")
def trained_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported bundle of a small wave-unet-16k from a checkpoint: whole, float16, streaming.

    It adds to speech a third of its level, and so gives what has a PESQ. Copy it to change it.
    """
    import torch
    from safetensors.torch import save_file

    from frcrn_export.exporters.assets import read_speech
    from frcrn_export.exporters.bundle import add_fp16_core, export_onnx
    from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
    from frcrn_export.exporters.loading import load_model
    from frcrn_export.exporters.streaming_export import StreamingOptions

    config = WaveUNetConfig(channels=(16, 24, 32), strides=(4, 2, 2), kernel_size=7, residual=True)
    wave = torch.from_numpy(read_speech())[None, None, :16_384]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = WaveUNet(config)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.momentum = None
        network.train()(wave)
        assert network.out.bias is not None
        network.out.bias.zero_()
        network.out.weight.mul_(0.3 * wave.std() / (network.eval()(wave) - wave).std())
    folder = tmp_path_factory.mktemp("exported")
    save_file(network.state_dict(), folder / "w.safetensors", metadata=config.to_metadata())
    model = load_model("wave-unet-16k", folder / "w.safetensors")
    export_onnx(model, folder / "bundle", streaming=StreamingOptions(4))
    add_fp16_core(model, folder / "bundle")
    return folder / "bundle"
