from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest

from frcrn_export.calibration.source import (
    find_source,
    int8_name,
    reference_model,
    with_fp16_core,
)
from frcrn_export.exporters import artifacts
from frcrn_export.exporters.registry import find_model
from frcrn_export.runtime.bundle.manifest import Target, Weights
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from frcrn_export.runtime.cache import CACHE_VARIABLE
from frcrn_export.runtime.errors import UserError
from tests.bundles import manifest, write_bundle, write_manifest
from tests.calibration.bundles import TRAINED, write_masking_bundle
from tests.streaming_bundles import Core, write_streaming_bundle


def never() -> object:
    pytest.fail("the network was loaded")


def as_model(root: Path, model: str, weights: Weights = TRAINED) -> Path:
    """Let a bundle say that it is another model's."""
    described = open_bundle(root).manifest
    write_manifest(root, msgspec.structs.replace(described, model=model, weights=weights))
    return root


WHAT = "INT8 for processors"
AGAIN = "frcrn-export calibrate b --for cpu --calib c"


def quiet(phase: str, done: int, steps: int) -> None:
    """Nobody watches."""


def test_every_file_has_a_name_of_its_own() -> None:
    targets: tuple[Target, ...] = ("cpu", "tensorrt")
    names = {int8_name(target, streaming) for target in targets for streaming in (0, 1)}
    assert names == {
        "core.int8.onnx",
        "core.int8.cpu.onnx",
        "core.streaming.int8.onnx",
        "core.streaming.int8.cpu.onnx",
    }
    assert int8_name("tensorrt", False, "fp8") == "core.fp8.onnx"
    assert int8_name("tensorrt", True, "fp8") == "core.streaming.fp8.onnx"


def test_for_processors_the_float32_core(masking_bundle: Path) -> None:
    source = find_source(open_bundle(masking_bundle), "cpu", False, never)  # type: ignore[arg-type]
    assert source.entry is source.float32
    assert source.float32.path == "core.onnx"
    assert "encoder" in [node.name for node in source.model.graph.node]


def test_for_tensorrt_the_float16_core(masking_bundle: Path) -> None:
    source = find_source(open_bundle(masking_bundle), "tensorrt", False, never)  # type: ignore[arg-type]
    assert (source.entry.path, source.float32.path) == ("core.fp16.onnx", "core.onnx")
    kinds = {tensor.data_type for tensor in source.model.graph.initializer}
    assert onnx.TensorProto.FLOAT not in kinds


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_transposed_convolutions_are_ordinary_ones(
    masking_bundle: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frcrn_export.calibration import source as module

    lowered = onnx.ModelProto()
    monkeypatch.setattr(module, "lower_transposed", lambda model: lowered)
    found = find_source(open_bundle(masking_bundle), target, False, never)  # type: ignore[arg-type]
    assert found.model is lowered


def test_the_streaming_core(tmp_path: Path) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core("delay", chunk=64, lookahead=8), stft=None)
    bundle = open_bundle(as_model(root, "wave-unet-16k"))
    source = find_source(bundle, "cpu", True, never)  # type: ignore[arg-type]
    assert source.entry.path == "core.streaming.onnx"
    assert source.entry.streaming is not None
    with pytest.raises(UserError, match=r"no float32 core as ONNX"):
        find_source(bundle, "cpu", False, never)  # type: ignore[arg-type]


def test_a_float16_core_that_is_there_is_taken(masking_bundle: Path) -> None:
    bundle = open_bundle(masking_bundle)
    assert with_fp16_core(bundle, False, never, quiet) is bundle  # type: ignore[arg-type]


def test_a_float16_core_is_made_of_the_network(tmp_path: Path) -> None:
    bundle = open_bundle(as_model(write_masking_bundle(tmp_path / "b"), "frcrn-16k"))

    def load() -> object:
        return reference_model(bundle, None, "the float16 core", AGAIN)

    with pytest.raises(UserError, match="the float16 core of .* is made from the network itself"):
        with_fp16_core(bundle, False, load, quiet)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no float32 streaming core"):
        with_fp16_core(bundle, True, never, quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_bundle_of_torchscript_alone(tmp_path: Path, target: Target) -> None:
    """The command exports a core that there is none of, not the same files again."""
    root = write_bundle(tmp_path / "b", formats=("torchscript",))
    as_model(root, "wave-unet-16k", manifest().weights)
    with pytest.raises(UserError) as why:
        find_source(open_bundle(root), target, False, never)  # type: ignore[arg-type]
    assert str(why.value) == (
        f"{root}: no float32 core as ONNX in this bundle to calibrate; run: frcrn-export onnx "
        "--model wave-unet-16k --random-weights 0 -o NEW_BUNDLE"
    )


def test_a_bundle_without_a_streaming_core(masking_bundle: Path) -> None:
    with pytest.raises(UserError) as why:
        find_source(open_bundle(masking_bundle), "cpu", True, never)  # type: ignore[arg-type]
    assert str(why.value) == (
        f"{masking_bundle}: no float32 streaming core as ONNX in this bundle to calibrate; run: "
        "frcrn-export onnx --streaming --model wave-unet-16k --random-weights 0 -o NEW_BUNDLE"
    )


def test_frcrn_for_processors_has_a_form_of_its_own(
    masking_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = as_model(masking_bundle, "frcrn-16k")
    bundle = open_bundle(root)
    rows = onnx.ModelProto()
    network = object()

    def form(model: object, core: object) -> tuple[object, object]:
        assert model is network
        return rows, core

    monkeypatch.setattr(artifacts, "int8_source", form)
    load: Callable[[], object] = lambda: network  # noqa: E731
    found = find_source(bundle, "cpu", False, load)  # type: ignore[arg-type]
    assert found.model is rows
    assert found.float32.path == "core.onnx"
    fp16 = find_source(bundle, "tensorrt", False, never)  # type: ignore[arg-type]
    assert fp16.entry.path == "core.fp16.onnx"


def test_weights_that_are_not_at_hand(masking_bundle: Path) -> None:
    bundle = open_bundle(as_model(masking_bundle, "frcrn-16k"))
    with pytest.raises(
        UserError, match=r"network itself, and the weights best\.pt are not .*--ch"
    ) as one:
        reference_model(bundle, None, WHAT, AGAIN)
    assert str(one.value).endswith(f"; run: {AGAIN} --checkpoint best.pt")


def test_published_weights_are_fetched_again(
    masking_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))  # nothing was fetched
    published = find_model("frcrn-16k").published
    assert published is not None
    made = Weights(source="default", name=published.file_name, sha256=published.sha256)
    bundle = open_bundle(as_model(masking_bundle, "frcrn-16k", made))
    with pytest.raises(UserError) as refused:
        reference_model(bundle, None, WHAT, AGAIN)
    assert str(refused.value).endswith(f"; run: frcrn-export fetch frcrn-16k && {AGAIN}")


def test_other_weights_than_those_of_the_bundle(masking_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(as_model(masking_bundle, "frcrn-16k"))
    other = tmp_path / "other.pt"
    with pytest.raises(UserError, match=r"other\.pt: no such file"):
        reference_model(bundle, other, WHAT, AGAIN)
    other.write_bytes(b"other")
    with pytest.raises(UserError, match=r"not the file this bundle was made from \(best\.pt\)"):
        reference_model(bundle, other, WHAT, AGAIN)


def test_the_network_of_a_bundle(masking_bundle: Path, tmp_path: Path) -> None:
    """A small one, by its checkpoint and by its seed."""
    import torch
    from safetensors.torch import save_file

    from frcrn_export.exporters.families.wave_unet.network import WaveUNet
    from tests.wave_unets import MASKING

    weights = tmp_path / "weights.safetensors"
    save_file(WaveUNet(MASKING).state_dict(), weights, metadata=MASKING.to_metadata())
    made = Weights(source="checkpoint", name=weights.name, sha256=sha256_of(weights))
    bundle = open_bundle(as_model(masking_bundle, "wave-unet-16k", made))
    model = reference_model(bundle, weights, WHAT, AGAIN)
    assert model.variant["channels"] == list(MASKING.channels)
    seeded = Weights(source="random", name="seed 5", seed=5)
    networks = [
        reference_model(
            open_bundle(as_model(masking_bundle, "wave-unet-16k", seeded)), None, WHAT, AGAIN
        ).network
        for _ in range(2)
    ]
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
