import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn.network import (
    FRCRN,
    FRCRN_16K,
    FRCRN_16K_512,
    FrcrnConfig,
)
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.exporters.families.wave_unet_12x24.network import (
    WaveUNet12x24,
    WaveUNet12x24Config,
)
from frcrn_export.exporters.recognition import (
    Checkpoint,
    load_checkpoint,
    load_into,
    recognise,
    require_model,
)
from frcrn_export.runtime.bundle.reader import sha256_of
from frcrn_export.runtime.errors import CheckpointError

MODEL = "wave-unet-12x24"
CONFIG = WaveUNet12x24Config(layers=2, channels_interval=2)

State = dict[str, Tensor]


def wave_unet(seed: int = 0) -> WaveUNet12x24:
    torch.manual_seed(seed)
    return WaveUNet12x24(CONFIG).eval()


def small_frcrn(config: FrcrnConfig = FRCRN_16K) -> FRCRN:
    """The published layers, names and kernels with few channels."""
    torch.manual_seed(0)
    return FRCRN(FrcrnConfig(config.bins, config.encoder_kernels, 4, 4, 20, 2)).eval()


def weights_of(network: nn.Module) -> State:
    return {k: v for k, v in network.state_dict().items() if "num_batches_tracked" not in k}


def save(value: object, path: Path) -> Path:
    torch.save(value, path)
    return path


def refusal(path: Path) -> str:
    """The one line that `load_checkpoint` refuses a file with."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert caught.value.exit_code == 2
    return message


def assert_holds(checkpoint: Checkpoint, expected: State) -> None:
    assert checkpoint.state.keys() == expected.keys()
    assert all(torch.equal(checkpoint.state[key], expected[key]) for key in expected)


OPTIMIZER = {
    "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}},
    "param_groups": [],
}
FORMS = {
    "raw.pth": lambda s: s,
    "raw.bin": lambda s: OrderedDict(s),
    "no_suffix": lambda s: s,
    "latest.tar": lambda s: {"epoch": 3, "best_score": 0.5, "optimizer": OPTIMIZER, "model": s},
    "best.pt": lambda s: {"model_state_dict": s, "optimizer_state_dict": OPTIMIZER, "loss": 0.1},
    "trainer.pth": lambda s: {"state_dict": s},
    "state.th": lambda s: {"model_state": s, "args": {"rate": 16000}},
    "other.th": lambda s: {"best_state": s, "optimizer": OPTIMIZER, "history": [1.0]},
    "deep.pt": lambda s: {"model": {"state_dict": s, "class": "WaveUNet"}, "epoch": 1},
    "config.pt": lambda s: {"model": {"name": "wave-unet"}, "state_dict": s},
    "parameters.pt": lambda s: {k: nn.Parameter(v, requires_grad=False) for k, v in s.items()},
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_published_form(tmp_path, name, zipped):
    network = wave_unet()
    path = tmp_path / name
    torch.save(FORMS[name](network.state_dict()), path, _use_new_zipfile_serialization=zipped)
    checkpoint = load_checkpoint(path)
    assert_holds(checkpoint, weights_of(network))
    assert (checkpoint.prefix, checkpoint.ignored) == ("", ())
    assert checkpoint.path == path
    assert checkpoint.sha256 == sha256_of(path)
    assert checkpoint.model == MODEL

    other = wave_unet(seed=1)
    load_into(other, checkpoint, MODEL)
    wave = torch.randn(1, 1, 64)
    assert torch.equal(other(wave), network(wave))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_with_metadata(tmp_path, suffix):
    state = weights_of(wave_unet())
    path = tmp_path / f"weights{suffix}"
    save_file(state, path, metadata={"causal": "true"})
    checkpoint = load_checkpoint(path)
    assert_holds(checkpoint, state)
    (said,) = checkpoint.configuration.find(("causal",))
    assert said.value == "true"


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "module.model.", "module.module.", "_orig_mod."]
)
def test_prefixes(tmp_path, prefix):
    state = weights_of(wave_unet())
    path = save({"model": {prefix + key: value for key, value in state.items()}}, tmp_path / "a.pt")
    assert_holds(load_checkpoint(path), state)


@pytest.mark.parametrize("scalar", [np.float64(0.7), np.float32(0.7), np.int64(7), np.bool_(True)])
def test_numpy_scalars_beside_the_weights(tmp_path, scalar):
    state = weights_of(wave_unet())
    tree = {"epoch": 5, "best_score": scalar, "model": state, "optimizer": OPTIMIZER}
    assert_holds(load_checkpoint(save(tree, tmp_path / "best_model.tar")), state)


def test_numpy_scalars_under_the_module_name_of_numpy_1(tmp_path):
    state = weights_of(wave_unet())
    buffer = io.BytesIO()
    torch.save(
        {"best_score": np.float64(0.7), "model": state},
        buffer,
        _use_new_zipfile_serialization=False,
    )
    written = buffer.getvalue()
    assert b"numpy._core.multiarray" in written
    path = tmp_path / "best_model.tar"
    path.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_holds(load_checkpoint(path), state)


def test_a_state_dict_on_its_own_stays_when_the_file_goes(tmp_path):
    state = weights_of(wave_unet())
    path = save(state, tmp_path / "a.pth")
    checkpoint = load_checkpoint(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert_holds(checkpoint, state)


# Shared tensors of the published FRCRN

LISTED = {
    "encoder": "encoders.",
    "decoder": "decoders.",
    "fsmn_enc": "fsmn_enc.",
    "fsmn_dec": "fsmn_dec.",
    "se_layer_enc": "se_layers_enc.",
    "se_layer_dec": "se_layers_dec.",
}


def second_name(key: str) -> str:
    """`unet.encoder0.x` -> `unet.encoders.0.x`; a tensor with one name keeps it."""
    unet, layer, rest = key.split(".", 2)
    base, index = layer.rstrip("0123456789"), layer[len(layer.rstrip("0123456789")) :]
    return f"{unet}.{LISTED[base]}{index}.{rest}" if index and base in LISTED else key


@pytest.mark.parametrize("names", ["first", "second", "both"])
def test_either_name_of_shared_tensors(tmp_path, names):
    state = weights_of(small_frcrn())
    second = {second_name(key): value for key, value in state.items()}
    assert len(second.keys() - state.keys()) > 600
    transform = {"stft.weight": torch.zeros(642, 1, 640), "istft.window": torch.ones(1, 640, 1)}
    tree = {"first": state, "second": second, "both": {**state, **second}}[names]
    checkpoint = load_checkpoint(save({**transform, **tree}, tmp_path / "pytorch_model.bin"))
    assert_holds(checkpoint, state)
    assert checkpoint.model == "frcrn-16k"
    load_into(small_frcrn(), checkpoint, "frcrn-16k")


def test_two_names_with_different_values(tmp_path):
    state = weights_of(small_frcrn())
    key = "unet2.se_layer_dec3.fc_i.2.bias"
    state[second_name(key)] = state[key] + 1
    message = refusal(save(state, tmp_path / "a.bin"))
    assert f"{key} and unet2.se_layers_dec.3.fc_i.2.bias are two names of one tensor" in message


# Files that are refused


class Payload:
    """Pickles into a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("container", ["torch", "legacy", "pickle", "beside the weights"])
def test_pickled_code_is_not_run(tmp_path, container):
    trace, path = tmp_path / "trace", tmp_path / "best.pth"
    if container == "pickle":
        path.write_bytes(pickle.dumps(Payload(trace), protocol=2))
    elif container == "beside the weights":
        save({"model": weights_of(wave_unet()), "args": Payload(trace)}, path)
    else:
        zipped = container == "torch"
        torch.save({"model": Payload(trace)}, path, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "pickled code (" in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message
    assert not trace.exists()
    torch.load(path, weights_only=False) if container != "pickle" else pickle.loads(
        path.read_bytes()
    )
    assert trace.exists()  # the file would have done it


def test_a_later_pickle_protocol_is_not_run(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "best.pkl"
    path.write_bytes(pickle.dumps(Payload(trace), protocol=4))
    assert "a pickle of other things than weights" in refusal(path)
    assert not trace.exists()


def test_a_whole_module_is_refused(tmp_path):
    message = refusal(save(wave_unet(), tmp_path / "model.pth"))
    assert "WaveUNet12x24" in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    assert "TorchScript" in refusal(path)


def test_missing_and_odd_paths(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.pth")
    assert "not a file" in refusal(tmp_path)
    empty = tmp_path / "empty.pth"
    empty.touch()
    assert "empty" in refusal(empty)


@pytest.mark.parametrize(
    "content", [b"hello world, hello", b"a", b"RIFF\0\0\0\0WAVEfmt ", bytes(64)]
)
def test_other_files(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert "not a checkpoint" in refusal(path)


def test_other_archives(tmp_path):
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme/data.txt", "text")
    assert "not a checkpoint" in refusal(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_files(tmp_path, form):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    state = weights_of(wave_unet())
    if form == "safetensors":
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=form == "zip")
    content = whole.read_bytes()
    assert_holds(load_checkpoint(whole), state)
    sizes = {1, 2, 4, 8, 9, 64, len(content) - 1, len(content) - 22}
    for size in sorted(sizes | set(range(100, len(content), len(content) // 40))):
        cut.write_bytes(content[:size])
        refusal(cut)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_damaged_files_raise_nothing_else(tmp_path, form):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    state = {"encoder.0.main.0.weight": torch.ones(2, 1, 15), "b": torch.zeros(3)}
    if form == "safetensors":
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=form == "zip")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole.read_bytes())
        for position in rng.integers(0, len(content), 3):
            content[position] = rng.integers(256)
        damaged.write_bytes(content)
        try:
            load_checkpoint(damaged)
        except CheckpointError:
            refused += 1
    assert refused > 0


def test_a_name_that_is_not_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"w\xff.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "a")
    (tmp_path / "a").rename(path)
    with pytest.raises(CheckpointError, match="a name that is not UTF-8: rename it"):
        load_checkpoint(path)


def test_a_mapping_that_holds_itself(tmp_path):
    """A thousand times: its paths are without number, and it is walked once."""
    tree: dict[str, object] = {"model": weights_of(wave_unet())}
    tree.update({f"again{number}": tree for number in range(1_000)})
    checkpoint = load_checkpoint(save(tree, tmp_path / "a.pt"))
    assert (checkpoint.model, checkpoint.key) == (MODEL, "model")


def test_strides_that_repeat_a_value_without_an_end(tmp_path):
    """Under two prefixes, where equal networks are one: they are not compared."""
    huge = torch.ones(1).expand(2**20, 2**10, 2**10)
    state = {}
    for prefix in ("one.", "two."):
        state |= {f"{prefix}{key}": value for key, value in weights_of(wave_unet()).items()}
        state[f"{prefix}encoder.0.main.0.weight"] = huge
    refusal(save(state, tmp_path / "a.pt"))


def test_an_archive_that_unpacks_into_far_more(tmp_path):
    path, bomb = save({"a": torch.ones(3)}, tmp_path / "a.pt"), tmp_path / "bomb.pt"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(bomb, "w") as written:
        for name in whole.namelist():
            zeros = bytes(20_000_000) if name.endswith("data/0") else whole.read(name)
            written.writestr(name, zeros, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    assert "truncated, damaged or not a checkpoint" in refusal(bomb)


class Bytes:
    def __reduce__(self):
        return bytearray, (10**13,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_asks_for_memory(tmp_path, zipped):
    path = tmp_path / "a.pt"
    value = {"a": torch.ones(3), "b": Bytes()}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    assert "pickled code (builtins.bytearray)" in refusal(path)
    if zipped:
        packed = tmp_path / "packed.pt"
        deflated = zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED)
        with deflated as written, zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                written.writestr(name, archive.read(name))
        assert "truncated, damaged or not a checkpoint" in refusal(packed)


def test_a_tensor_of_a_kind_that_no_reader_expects(tmp_path):
    state = weights_of(wave_unet())
    state["encoder.0.main.0.weight"] = torch.eye(3).to_sparse_csr()
    refusal(save(state, tmp_path / "a.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(tmp_path, value):
    state = weights_of(wave_unet())
    state["middle.0.weight"][1, 2, 3] = value
    assert "middle.0.weight holds NaN or infinite values" in refusal(save(state, tmp_path / "a.pt"))


@pytest.mark.parametrize("value", [torch.zeros(3, dtype=torch.int8), torch.eye(3).to_sparse()])
def test_weights_that_are_not_plain_numbers(tmp_path, value):
    message = refusal(save({"a": torch.ones(1), "quantised": value}, tmp_path / "a.pt"))
    assert "quantised is torch." in message


def test_files_without_weights(tmp_path):
    loop: dict[str, object] = {}
    loop["model"] = loop
    for tree in ({}, {"state_dict": {}}, {"model": {"name": "x"}}, [torch.ones(2)], 3, loop):
        assert "no state dict" in refusal(save(tree, tmp_path / "a.pt"))
    for tree in ({"a": torch.zeros(0)}, {"a.num_batches_tracked": torch.tensor(1)}):
        assert "no weights" in refusal(save(tree, tmp_path / "a.pt"))


def test_several_state_dicts(tmp_path):
    state = weights_of(wave_unet())
    path = save({"student": state, "teacher": state}, tmp_path / "a.pt")
    assert "several state dicts (student, teacher)" in refusal(path)


# Matching weights and networks


def test_missing_unexpected_and_reshaped_tensors_by_name(tmp_path):
    network, state = wave_unet(), weights_of(wave_unet(seed=1))
    del state["out.0.bias"]
    state["encoder.0.extra"] = torch.ones(1)
    state["middle.0.bias"] = torch.ones(7)
    for index in range(6):
        state[f"middle.head.{index}"] = torch.ones(1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(network, load_checkpoint(save(state, tmp_path / "a.pt")), MODEL)
    message = str(caught.value)
    assert "1 missing (out.0.bias)" in message
    assert "7 unexpected (encoder.0.extra, middle.head.0, middle.head.1, " in message
    assert "middle.head.3, ...)" in message
    assert "1 of another shape (middle.0.bias [7] instead of [4])" in message
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_fp16_weights_are_widened(tmp_path):
    network = wave_unet()
    state = {key: value.half() for key, value in weights_of(network).items()}
    load_into(network, load_checkpoint(save(state, tmp_path / "a.pt")), MODEL)
    assert network.middle[0].weight.dtype == torch.float32
    assert torch.equal(network.middle[0].weight, state["middle.0.weight"].float())


def published_networks() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {
            "frcrn-16k": FRCRN(FRCRN_16K),
            "frcrn-16k-512": FRCRN(FRCRN_16K_512),
            "wave-unet-16k": WaveUNet(WaveUNetConfig()),
            "wave-unet-12x24": WaveUNet12x24(),
        }


def test_recognises_every_model():
    for name, network in published_networks().items():
        assert recognise(network.state_dict()) == name
    assert recognise({"fc.weight": torch.ones(1)}) is None


@pytest.mark.parametrize(
    ("network", "asked", "line"),
    [
        (small_frcrn(FRCRN_16K_512), "frcrn-16k", "257-bin weights: use --model frcrn-16k-512"),
        (small_frcrn(), "frcrn-16k-512", "321-bin weights: use --model frcrn-16k"),
        (wave_unet(), "wave-unet-16k", "with interpolation: use --model wave-unet-12x24"),
        (WaveUNet(), "wave-unet-12x24", "strided Wave-U-Net: use --model wave-unet-16k"),
    ],
)
def test_the_weights_of_another_model_say_so(tmp_path, network, asked, line):
    path = save({"module." + k: v for k, v in network.state_dict().items()}, tmp_path / "best.pth")
    checkpoint = load_checkpoint(path)
    with pytest.raises(CheckpointError) as caught:
        load_into(nn.Linear(1, 1), checkpoint, asked)
    assert str(caught.value).startswith(f"{path}: these are ")
    assert str(caught.value).endswith(line)
    assert checkpoint.model is not None
    require_model(checkpoint, checkpoint.model)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_more_tensors_than_any_network_has(tmp_path: Path, suffix: str) -> None:
    names = [f"t{index}" for index in range(40_000)]
    path = tmp_path / f"many{suffix}"
    if suffix == ".pth":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(f"many/data/{name}", b"")
    else:
        save_file({name: torch.zeros(()) for name in names}, path)
    assert "40000 tensors, of which at most 32768 are read; save the weights" in refusal(path)
