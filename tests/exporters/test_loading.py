"""Nothing is guessed: every setting is read, said, or an assumption that is kept."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from frcrn_export.exporters.assets import ASSETS
from frcrn_export.exporters.families.frcrn.network import FRCRN, FRCRN_16K
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.recognition import load_checkpoint
from frcrn_export.exporters.registry import find_model
from frcrn_export.exporters.stft_ops import StftAnalysis, dft_basis
from frcrn_export.runtime.errors import CheckpointError, UserError

CONFIG = WaveUNetConfig(channels=(4, 6), strides=(2, 3), kernel_size=7, causal=False, residual=True)
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> WaveUNet:
    torch.manual_seed(0)
    return WaveUNet(CONFIG).eval()


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


SETTINGS = {name: plain(value) for name, value in asdict(CONFIG).items()}


def metadata_of(state: State, path: Path) -> None:
    save_file(state, path, metadata={**CONFIG.to_metadata(), "level": "none"})


def nested(key: str) -> Callable[[State, Path], None]:
    def write(state: State, path: Path) -> None:
        torch.save({"state_dict": state, key: {**SETTINGS, "level": "none"}}, path)

    return write


def namespace(state: State, path: Path) -> None:
    torch.save({"model": state, "args": argparse.Namespace(**SETTINGS, level="none")}, path)


def beside_as_values(state: State, path: Path) -> None:
    torch.save({"model": state, **SETTINGS, "level": "none"}, path)


def sidecar(name: str) -> Callable[[State, Path], None]:
    def write(state: State, path: Path) -> None:
        torch.save(state, path)
        tree = {"network": {**SETTINGS, "level": "none"}}
        file = path.with_name(name.replace("STEM", path.stem))
        if file.suffix == ".json":
            file.write_text(json.dumps(tree))
        else:
            import yaml

            file.write_text(yaml.safe_dump(tree))

    return write


def json_in_metadata(state: State, path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    config = json.dumps({"network": {**SETTINGS, "level": "none"}})
    save_file(tensors, path, metadata={"format": "pt", "config": config})


FORMS = {
    "safetensors metadata": metadata_of,
    "JSON in safetensors metadata": json_in_metadata,
    "config": nested("config"),
    "hyper_parameters": nested("hyper_parameters"),
    "args": nested("args"),
    "argparse": namespace,
    "beside the state dict": beside_as_values,
    "STEM.json": sidecar("STEM.json"),
    "STEM.yaml": sidecar("STEM.yaml"),
    "config.yml": sidecar("config.yml"),
    "hparams.yaml": sidecar("hparams.yaml"),
}


@pytest.mark.parametrize("form", FORMS)
def test_settings_are_read_wherever_trainers_keep_them(
    network: WaveUNet, form: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    FORMS[form](network.state_dict(), path)
    loaded = load_model(None, path)
    assert isinstance(loaded.network, WaveUNet)
    assert loaded.network.config == CONFIG
    assert loaded.processing.level == "none"
    assert loaded.assumptions == ()
    wave = torch.randn(1, 1, 8 * CONFIG.hop)
    assert torch.equal(loaded.network(wave), network(wave))


def test_settings_that_the_user_says(network: WaveUNet, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth")
    options = {"strides": (2, 3), "causal": False, "residual": True}
    loaded = load_model(None, tmp_path / "w.pth", options=options)
    assert isinstance(loaded.network, WaveUNet)
    assert loaded.network.config == CONFIG
    assert {one.setting for one in loaded.assumptions} == {"level"}


def test_what_nobody_says_is_an_assumption(tmp_path: Path) -> None:
    config = WaveUNetConfig(channels=(4, 6), strides=(4, 4))
    torch.save(WaveUNet(config).state_dict(), tmp_path / "w.pth")
    loaded = load_model(None, tmp_path / "w.pth")
    assumed = {one.setting: one.value for one in loaded.assumptions}
    assert assumed == {
        "strides": "4,4",
        "causal": "true",
        "residual": "false",
        "level": "peak",
    }
    reasons = {one.setting: one.reason for one in loaded.assumptions}
    assert reasons["causal"] == "not said; change it with --non-causal"
    assert reasons["level"] == "not said; change it with --level"


@pytest.mark.parametrize(
    ("config", "assumed"),
    [
        (WaveUNetConfig(channels=(4,), strides=(4,), context_blocks=1), ["causal", "residual"]),
        (
            WaveUNetConfig(channels=(4,), strides=(4,), context_blocks=2),
            ["causal", "residual", "context_cycle"],
        ),
        (WaveUNetConfig(channels=(4,), strides=(4,), bands=4, context_blocks=2), ["context_cycle"]),
    ],
)
def test_what_changes_nothing_is_no_assumption(
    config: WaveUNetConfig, assumed: list[str], tmp_path: Path
) -> None:
    """The first dilation is 1 in any case; the masking form is causal and not residual."""
    torch.save(WaveUNet(config).state_dict(), tmp_path / "w.pth")
    loaded = load_model(None, tmp_path / "w.pth", options={"strides": (4,), "level": "none"})
    assert [one.setting for one in loaded.assumptions] == assumed


def test_the_packaged_weights_saved_again_say_what_to_give(tmp_path: Path) -> None:
    state = load_checkpoint(ASSETS / "wave-unet-16k.safetensors").state
    torch.save(state, tmp_path / "again.pth")
    with pytest.raises(CheckpointError, match=r"4,4 do not fit .* as trained: 1,1 1,2 2,1 or 2,2"):
        load_model(None, tmp_path / "again.pth")
    options = {"strides": (1, 2), "residual": False}
    assert load_model(None, tmp_path / "again.pth", options=options).spec.is_default


def test_known_weights_need_no_assumption() -> None:
    assert load_model().assumptions == ()
    assert load_model("wave-unet-16k", seed=0).assumptions == ()


def test_the_user_against_the_checkpoint(network: WaveUNet, tmp_path: Path) -> None:
    metadata_of(network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"--strides 4,4: the checkpoint says 2,3 \(`strides` in"):
        load_model(None, tmp_path / "w.safetensors", options={"strides": (4, 4)})


def test_a_checkpoint_against_itself(network: WaveUNet, tmp_path: Path) -> None:
    tree = {"model": network.state_dict(), "config": SETTINGS, "hparams": {"strides": [4, 4]}}
    torch.save(tree, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"`config.strides` says strides 2,3, `hparams"):
        load_model(None, tmp_path / "w.pth")


def test_a_configuration_against_the_tensors(network: WaveUNet, tmp_path: Path) -> None:
    tree = {"model": network.state_dict(), "config": {**SETTINGS, "channels": [8, 8]}}
    torch.save(tree, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"`config.channels` says channels 8,8, the tensors"):
        load_model(None, tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sample_rate", 48_000, "sample rate 48000, frcrn-16k has 16000"),
        ("sample_rate", 48_000.0, "sample rate 48000.0, frcrn-16k has 16000"),
        ("win_len", 512, "window length 512, frcrn-16k has 640"),
        ("n_fft", "512", "fft length 512, frcrn-16k has 640"),
        ("win_inc", 100, "hop length 100, frcrn-16k has 320"),
        ("win_type", "hamming", "window is hamming, frcrn-16k has sqrt_hann"),
    ],
)
def test_a_configuration_of_another_transform(
    frcrn_state: State, name: str, value: object, said: str, tmp_path: Path
) -> None:
    torch.save({"model": frcrn_state, "config": {name: value}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"`config.{name}` says .*{said}"):
        load_model(None, tmp_path / "w.pth")


def test_settings_of_the_optimizer_are_not_those_of_the_network(tmp_path: Path) -> None:
    state = WaveUNet(WaveUNetConfig(channels=(4, 6), strides=(4, 4))).state_dict()
    tree = {"model": state, "optimizer": {"strides": [2, 2]}, "lr_scheduler": {"residual": True}}
    torch.save({**tree, "config": {"channels": 1}}, tmp_path / "w.pth")
    loaded = load_model(None, tmp_path / "w.pth")
    assert loaded.variant["strides"] == [4, 4]
    assert loaded.variant["residual"] is False


def test_a_broken_file_beside_the_weights_is_left_out(
    network: WaveUNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth")
    (tmp_path / "config.json").write_text('{"strides": [2, 3')
    loaded = load_checkpoint(tmp_path / "w.pth")
    assert loaded.configuration.find(("strides",)) == []
    assert "config.json: not read as the configuration" in caplog.text


def test_options_of_another_family() -> None:
    with pytest.raises(UserError, match="frcrn-16k has no strides; leave out --strides"):
        load_model("frcrn-16k", seed=0, options={"strides": (4, 4)})
    with pytest.raises(UserError, match="wave-unet-16k has no squeeze excite"):
        load_model("wave-unet-16k", seed=0, options={"squeeze_excite": "global"})


# What the file holds of the transform


@pytest.fixture(scope="module")
def frcrn_state() -> State:
    torch.manual_seed(0)
    return {k: v for k, v in FRCRN(FRCRN_16K).state_dict().items() if "num_batches" not in k}


def test_the_transform_in_the_file(frcrn_state: State, tmp_path: Path) -> None:
    stft = find_model("frcrn-16k").stft
    assert stft is not None
    right = {"stft.weight": StftAnalysis(stft).weight}
    path = tmp_path / "w.pth"
    torch.save({**frcrn_state, **right}, path)
    assert load_model(None, path).spec.name == "frcrn-16k"

    basis = torch.from_numpy(dft_basis(stft))  # [2F, W]
    hamming = (basis * torch.hamming_window(640, dtype=torch.float64)).float()[:, None]
    torch.save({**frcrn_state, "stft.weight": hamming}, path)
    with pytest.raises(CheckpointError, match="stft.weight is a transform with a Hamming window"):
        load_model(None, path)

    torch.save({**frcrn_state, "stft.weight": torch.ones(514, 1, 512)}, path)
    with pytest.raises(CheckpointError, match="window 512, 257 bins; frcrn-16k has window 640"):
        load_model(None, path)


@pytest.mark.parametrize("name", ["stft.window", "istft.window"])
def test_the_window_of_torch_stft_in_the_file(
    frcrn_state: State, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save({**frcrn_state, name: torch.hann_window(640).sqrt()}, path)
    assert load_model(None, path).notes == ()
    torch.save({**frcrn_state, name: torch.hamming_window(640)}, path)
    with pytest.raises(CheckpointError, match=f"{name} is a transform with a Hamming window"):
        load_model(None, path)


def test_what_is_not_compared_of_a_transform_is_said(frcrn_state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({**frcrn_state, "stft.forward_basis": torch.ones(642, 1, 640)}, path)
    assert load_model(None, path).notes == (
        "ignored 1 tensors beside the network: stft.forward_basis",
    )


# Several networks in one file, and prefixes


def test_an_average_without_names_is_said(network: WaveUNet, tmp_path: Path) -> None:
    """As torch-ema saves it."""
    state = network.state_dict()
    average = {"decay": 0.99, "shadow_params": list(state.values()), "collected_params": None}
    tree = {"model": state, "ema": average, "config": SETTINGS, "optimizer": [torch.ones(1)]}
    torch.save(tree, tmp_path / "w.pth")
    (note,) = load_model(None, tmp_path / "w.pth").notes
    assert note.startswith(
        f"ignored lists of tensors without names: ema.shadow_params ({len(state)})"
    )


def test_state_dicts_in_a_list(network: WaveUNet, tmp_path: Path) -> None:
    averaged = {name: value * 1.0 for name, value in network.state_dict().items()}
    averaged["out.bias"] = averaged["out.bias"] + 1
    tree = {"model": network.state_dict(), "models": [averaged], "config": SETTINGS}
    torch.save(tree, tmp_path / "w.pth")
    (said,) = [a for a in load_model(None, tmp_path / "w.pth").assumptions if a.value == "model"]
    assert "the file also holds models.0" in said.reason
    chosen = load_model(None, tmp_path / "w.pth", state_dict="models.0")
    assert torch.equal(chosen.network.state_dict()["out.bias"], averaged["out.bias"])


@pytest.mark.parametrize("other", ["ema", "best_state", "state_dict_ema"])
def test_which_state_dict_was_taken_is_said(network: WaveUNet, other: str, tmp_path: Path) -> None:
    averaged = {name: value * 1.0 for name, value in network.state_dict().items()}
    averaged["out.bias"] = averaged["out.bias"] + 1
    tree = {"model": network.state_dict(), other: averaged, "config": SETTINGS}
    torch.save(tree, tmp_path / "w.pth")
    loaded = load_model(None, tmp_path / "w.pth")
    (taken,) = (one for one in loaded.assumptions if one.setting == "state_dict")
    assert taken.value == "model"
    assert f"also holds {other}" in taken.reason
    assert loaded.weights.state_dict == "model"
    chosen = load_model(None, tmp_path / "w.pth", state_dict=other)
    assert chosen.weights.state_dict == other
    assert "state_dict" not in {one.setting for one in chosen.assumptions}
    assert torch.equal(chosen.network.state_dict()["out.bias"], averaged["out.bias"])
    with pytest.raises(CheckpointError, match=rf"no state dict 'emma'; there: model, {other}"):
        load_model(None, tmp_path / "w.pth", state_dict="emma")


@pytest.mark.parametrize(
    "prefix", ["net.", "generator.", "student.", "a.b.c.", "_fsdp_wrapped_module.", "model.module."]
)
def test_any_prefix_and_what_lies_beside(network: WaveUNet, prefix: str, tmp_path: Path) -> None:
    state = {prefix + name: value for name, value in network.state_dict().items()}
    state |= {"loss.window": torch.ones(3), "metric.total": torch.ones(1)}
    torch.save({"state_dict": state, "config": SETTINGS}, tmp_path / "w.pth")
    loaded = load_model(None, tmp_path / "w.pth")
    assert torch.equal(loaded.network.state_dict()["out.bias"], network.out.bias)
    assert loaded.notes == ("ignored 2 tensors beside the network: loss.window, metric.total",)


def test_what_lies_beside_without_a_prefix(network: WaveUNet, tmp_path: Path) -> None:
    state = {**network.state_dict(), "loss.window": torch.full((3,), float("nan"))}
    torch.save({"state_dict": state, "config": SETTINGS}, tmp_path / "w.pth")
    assert load_model(None, tmp_path / "w.pth").notes == (
        "ignored 1 tensors beside the network: loss.window",
    )


def test_two_networks_in_one_state_dict(network: WaveUNet, tmp_path: Path) -> None:
    teacher = {f"teacher.{name}": value + 1 for name, value in network.state_dict().items()}
    student = {f"student.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": {**teacher, **student}, "config": SETTINGS}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"several networks \(student, teacher\): choose"):
        load_model(None, tmp_path / "w.pth")
    chosen = load_model(None, tmp_path / "w.pth", state_dict="student")
    assert chosen.weights.state_dict == "student"
    assert torch.equal(chosen.network.state_dict()["out.bias"], network.out.bias)


def test_wrappers_between_names(network: WaveUNet, tmp_path: Path) -> None:
    state = {
        "_fsdp_wrapped_module." + name.replace(".0.", "._fsdp_wrapped_module.0.", 1): value
        for name, value in network.state_dict().items()
    }
    torch.save({"state_dict": state, "config": SETTINGS}, tmp_path / "w.pth")
    assert load_model(None, tmp_path / "w.pth").notes == ()


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(1).expand(1 << 40), "holds more than 500000000 values"),
        (torch.ones(1).expand(1 << 20), "holds fewer values than its shape says"),
        (torch.zeros(4, device="meta"), "has a shape and no values"),
        (torch.ones(4).to(torch.float8_e4m3fn), "not plain floating-point numbers"),
    ],
)
def test_tensors_that_are_not_what_they_say(
    network: WaveUNet, tensor: Tensor, said: str, tmp_path: Path
) -> None:
    state = {**network.state_dict(), "out.bias": tensor}
    torch.save({"state_dict": state, "config": SETTINGS}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=said):
        load_model(None, tmp_path / "w.pth")


def test_sizes_that_a_file_states_take_no_memory(tmp_path: Path) -> None:
    """One small tensor says 2^16 channels; a network of them has terabytes of weights."""
    state = load_checkpoint(ASSETS / "wave-unet-16k.safetensors").state
    first = state["encoder.0.0.weight"]
    state["encoder.0.0.weight"] = torch.zeros(2**16, *first.shape[1:])
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError) as caught:
        load_model(checkpoint=path)
    assert str(caught.value).startswith(f"{path}: ")
