"""Networks whose weights make float16 miss."""

import json
from pathlib import Path

import onnx
import pytest
import torch

from frcrn_export.cli import main
from frcrn_export.exporters.bundle import add_fp16_core, export_onnx
from frcrn_export.exporters.commands.float16 import showing_misses
from frcrn_export.exporters.families.wave_unet import FAMILY
from frcrn_export.exporters.families.wave_unet.network import WaveUNet
from frcrn_export.exporters.float16.fit import Float16Missed
from frcrn_export.exporters.float16.graph import float16_graph
from frcrn_export.exporters.float16.search import Sensitivity
from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.module_passes import compute_in_fp16
from frcrn_export.exporters.streaming_export import StreamingOptions
from frcrn_export.exporters.verify import verify
from frcrn_export.runtime.bundle.manifest import ParityResult
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.errors import UserError
from tests.wave_unets import write_small_wave

# Beyond 65504 between two layers.
LARGE = 3e5


def scale_between_layers(network: WaveUNet) -> None:
    """Scale what the decoder gives, and take it back in the layer after it: the same function."""
    norm, skip = network.decoder[0][1], network.decoder[0][0].out_channels
    norm.weight.mul_(LARGE)
    norm.bias.mul_(LARGE)
    network.out.weight[:skip].div_(LARGE)


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    path = tmp_path_factory.mktemp("large") / "large.pth"
    return load_model(checkpoint=write_small_wave(path, scale_between_layers))


@pytest.mark.slow
def test_the_layers_that_overflow_stay_in_float32(
    large_model: LoadedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    streaming = StreamingOptions(chunk=16)
    bundle = export_onnx(large_model, tmp_path / "b", fp16=True, streaming=streaming)
    halves = [entry for entry in bundle.manifest.files if entry.precision == "fp16"]
    assert [entry.path for entry in halves] == ["core.fp16.onnx", "core.streaming.fp16.onnx"]
    for entry, prefix in zip(halves, ("layers.", ""), strict=True):
        kept = entry.float32_layers
        assert kept is not None
        assert set(kept.layers) == {f"{prefix}decoder.0", f"{prefix}out"}
        assert kept.candidates == 9
        assert 0 < kept.added_bytes < entry.bytes
        graph = float16_graph(onnx.load(bundle.path / entry.path))
        assert len(graph.layers) == 7
        own = [r for r in bundle.manifest.parity if r.artifact == entry.path]
        assert min(r.snr_db for r in own) >= 48
        assert {r.case for r in own} >= {f"reference.rounded.{db}-dBFS" for db in (-50, -25, 0)}
    report = verify(bundle)
    assert report.passed
    for arguments in (["inspect", str(bundle.path)], ["inspect", str(bundle.path), "--json"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert not left.value.code
        out = capsys.readouterr().out
        if "--json" in arguments:
            files = {f["path"]: f for f in json.loads(out)["manifest"]["files"]}
            assert len(files["core.fp16.onnx"]["float32_layers"]["layers"]) == 2
        else:
            assert out.count("2 of 9") == 2
            assert "layers.decoder.0" in out


@pytest.mark.slow
def test_a_floor_of_ones_own_is_kept_and_verified(
    small_wave_model: LoadedModel, tmp_path: Path
) -> None:
    plain = export_onnx(small_wave_model, tmp_path / "b")
    bundle = add_fp16_core(small_wave_model, plain.path, fp16_floor=70)
    entry = bundle.manifest.file("core", "onnx", "fp16")
    assert entry is not None
    assert entry.floor_db == 70
    assert entry.float32_layers is not None  # the file as it is has less than 70 dB
    assert 0 < len(entry.float32_layers.layers) < entry.float32_layers.candidates
    own = [r for r in bundle.manifest.parity if r.artifact == entry.path]
    assert {r.floor_db for r in own} == {70, 60, 50}  # less in noise and where it is loud
    assert min(r.snr_db - r.floor_db for r in own) >= 3 - 1e-9
    again = [r for r in verify(bundle).results if r.artifact == entry.path]
    assert {r.floor_db for r in again} == {70, 50}
    assert "--fp16 --fp16-floor 70 " in export_again(bundle.manifest)
    for floor in (9, 91, float("nan")):
        with pytest.raises(UserError, match="takes 10 to 90 dB"):
            add_fp16_core(small_wave_model, plain.path, fp16_floor=floor, force=True)


@pytest.mark.slow
def test_where_nothing_helps_the_tables_are_shown_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_small_wave(tmp_path / "w.pth")
    right = FAMILY.exact_gpu_form
    monkeypatch.setattr(FAMILY, "gpu_form", lambda network: in_fp16(off(right(network))))
    monkeypatch.setattr(FAMILY, "exact_gpu_form", lambda network: off(right(network)))
    with pytest.raises(SystemExit) as left:
        main(["onnx", "--checkpoint", str(checkpoint), "--fp16", "-o", str(tmp_path / "b")])
    assert left.value.code == 1
    shown = capsys.readouterr()
    assert "at least 45 dB needed; float32 in its layers does not help" in shown.err
    assert "layers.context.0" in shown.out
    assert "core.49-frames" in shown.out
    assert not (tmp_path / "b").exists()


def off(module: torch.nn.Module) -> torch.nn.Module:
    """With a weight that is off, which has nothing to do with float16."""
    with torch.no_grad():
        module.get_parameter("synthesis.weight").mul_(1.1)
    return module


def in_fp16(module: torch.nn.Module) -> torch.nn.Module:
    parts = dict(module.named_children())
    compute_in_fp16([parts[name] for name in ("layers", "analysis", "synthesis")])
    return module


def test_a_miss_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    missed, passed = (
        ParityResult(artifact="f", case=case, snr_db=snr, max_abs=1, floor_db=45, passed=snr >= 45)
        for case, snr in (("core.a", 40.0), ("core.b", 50.0))
    )
    layers = [Sensitivity(0, "first", 60.0), Sensitivity(1, "second", 41.0)]
    with pytest.raises(Float16Missed), showing_misses(as_json=True):
        raise Float16Missed("f", (missed, passed), layers)
    made = json.loads(capsys.readouterr().out)
    assert [result["case"] for result in made["missed"]] == ["core.a"]
    assert [layer["name"] for layer in made["layers"]] == ["second", "first"]


@pytest.mark.parametrize("command", [["onnx"], ["trt", "--fp32"]])
def test_a_floor_without_a_float16_file(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["-o", str(tmp_path / "b"), "--model", "wave-unet-16k"]
    with pytest.raises(SystemExit) as left:
        main([*command, "--fp16-floor", "40", *where])
    assert left.value.code == 2
    assert "--fp16-floor" in capsys.readouterr().err
