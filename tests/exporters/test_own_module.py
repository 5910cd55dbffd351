from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from frcrn_export.exporters.own_module import OwnModule, load_own_module
from frcrn_export.exporters.users_code import parse_location
from frcrn_export.runtime.errors import CheckpointError, UserError
from tests.exporters.own_modules import BROKEN, GRU, MASK, WAVE, broken, write

STFT = (128, 64, 128)


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the modules leave in Python's import system goes with the test."""
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and "pytest-" in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def mask(folder: Path, **said: object) -> OwnModule:
    path = write(folder, "crn", MASK)
    options = {"stft": STFT, "window": "hann", "center": True, "level": "none", **said}
    return OwnModule(f"{path}:build", 16_000, output="mask", **options)  # type: ignore[arg-type]


def test_a_complex_mask_is_multiplied_with_the_spectrum(tmp_path: Path) -> None:
    model = load_own_module(mask(tmp_path))
    assert model.spec.name == "crn"
    assert model.variant == {
        "module": "crn.py:build",
        "input": "spectrum",
        "output": "mask",
        "streaming": False,
    }
    assert model.assumptions == ()
    spec = torch.randn(2, 2, 65, 9)
    made = model.network.get_submodule("module")(spec)
    wanted = torch.view_as_real(torch.complex(*spec.unbind(1)) * torch.complex(*made.unbind(1)))
    assert torch.allclose(model.network(spec), wanted.permute(0, 3, 1, 2), atol=1e-5)
    assert torch.equal(model.lowered(spec), model.network(spec))


def test_a_real_mask(tmp_path: Path) -> None:
    path = write(tmp_path, "gru", GRU)
    model = load_own_module(OwnModule(f"{path}:Gru", 16_000, STFT, output="mask"))
    spec = torch.randn(1, 2, 65, 9)
    real = model.network.get_submodule("module")(spec)
    assert torch.equal(model.network(spec), spec * real[:, None])
    assert [one.setting for one in model.assumptions] == ["window", "center", "level"]


def test_a_module_itself_and_a_module_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets").mkdir()
    write(tmp_path / "nets", "wave", WAVE)
    monkeypatch.syspath_prepend(tmp_path)
    model = load_own_module(OwnModule("nets.wave:net", 8_000, multiple=64))
    assert model.spec.name == "wave"
    assert model.variant["module"] == "nets.wave:net"
    assert model.processing.padding.size == 64
    assert model.network(torch.randn(2, 1, 640)).shape == (2, 1, 640)


def test_weights_that_were_built_are_the_same_each_time(tmp_path: Path) -> None:
    one, same, other = (load_own_module(mask(tmp_path), seed=seed).weights for seed in (0, 0, 1))
    assert one == same
    assert one.source == "random"
    assert one.sha256 != other.sha256
    assert load_own_module(mask(tmp_path)).weights.source == "built"


def checkpoint(folder: Path, prefix: str = "", **beside: torch.Tensor) -> Path:
    state = load_state(folder)
    path = folder / "weights.safetensors"
    save_file({f"{prefix}{name}": t for name, t in state.items()} | beside, path)
    return path


def load_state(folder: Path) -> dict[str, torch.Tensor]:
    scope: dict[str, object] = {}
    exec(MASK, scope)  # as a trainer would have it
    torch.manual_seed(7)
    network: torch.nn.Module = scope["build"]()  # type: ignore[operator]
    return network.state_dict()


def test_a_checkpoint_is_matched_by_the_modules_names(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "net.generator.", **{"loss.weight": torch.ones(3)})
    model = load_own_module(mask(tmp_path), path)
    assert model.weights.name == path.name
    assert model.weights.source == "checkpoint"
    assert "loss.weight" in model.notes[0]
    out = model.network.state_dict()["module.out.weight"]
    assert torch.equal(out, load_state(tmp_path)["out.weight"])


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, **{"out.extra": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(out.extra\); give its own"):
        load_own_module(mask(tmp_path), path)


def test_student_and_teacher_have_to_be_chosen_between(tmp_path: Path) -> None:
    state = load_state(tmp_path)
    both = {f"student.{n}": t.clone() for n, t in state.items()}
    both |= {f"teacher.{n}": t + 1 for n, t in state.items()}
    path = tmp_path / "both.safetensors"
    save_file(both, path)
    with pytest.raises(CheckpointError, match=r"several networks \(student, teacher\)"):
        load_own_module(mask(tmp_path), path)
    model = load_own_module(mask(tmp_path), path, state_dict="teacher")
    assert model.notes == ()
    out = model.network.state_dict()["module.out.weight"]
    assert torch.equal(out, state["out.weight"] + 1)


def test_a_checkpoint_that_contradicts_the_options(tmp_path: Path) -> None:
    torch.save({"state_dict": load_state(tmp_path), "n_fft": 512}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"says fft length 512, crn has 128"):
        load_own_module(mask(tmp_path), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["cached", "nan", "silence", "noise", "shape", "complex", "tuple"])
def test_what_no_core_may_do(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, "bad", broken(name))
    with pytest.raises(UserError) as said:
        load_own_module(OwnModule(f"{path}:Broken", 16_000, STFT))
    assert BROKEN[name][1] in str(said.value)
    assert "bad.py" in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_this_name", "bad.py:1: ModuleNotFoundError"),
        ("def build(:", "bad.py:1: SyntaxError"),
        ("\nraise SystemExit(3)", "bad.py:2: SystemExit: 3"),
        ("def build():\n    return 1 / 0", "bad.py:2: ZeroDivisionError"),
        ("def build():\n    return 'network'", "gives str, no nn.Module"),
        ("def make():\n    pass", "there is no build"),
        ("build = 3", "gives int, no nn.Module"),
        ("from torch import nn\ndef build():\n    return nn.LazyLinear(3)", "has no shape yet"),
    ],
)
def test_code_that_gives_no_network(text: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, "bad", text)
    with pytest.raises(UserError) as said:
        load_own_module(OwnModule(f"{path}:build", 16_000, STFT))
    assert says in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"stft": (128, 256, 128)}, "hop <= window <= FFT"),
        ({"stft": (128, 127, 128)}, "do not cover every sample"),
        ({"stft": (127, 64, 128)}, "even number"),
        ({"stft": (1 << 20, 64, 1 << 20)}, "at most 65536"),
        ({"stft": None}, "--module-output mask: a core takes"),
        ({"input": "wave"}, "--module-output mask: a core takes"),
        ({"multiple": 4}, "leave out --multiple"),
        ({"window": "kaiser"}, "takes hann, sqrt_hann, hamming"),
        ({"level": "loud"}, "--level loud: takes"),
    ],
)
def test_options_that_do_not_go_together(
    said: dict[str, object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        load_own_module(mask(tmp_path, **said))


def test_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no name for a model"):
        load_own_module(mask(tmp_path), name="../up")
    with pytest.raises(UserError, match="frcrn-16k is a registered model"):
        load_own_module(mask(tmp_path), name="frcrn-16k")
    assert load_own_module(mask(tmp_path), name="crn-small").spec.name == "crn-small"
    for text in ("my.py", ":build", "my.py:", "my.py:a b"):
        with pytest.raises(UserError, match="names no callable"):
            parse_location(text)
    assert (str(parse_location("a/b c.py:f")), parse_location("a.b:f").stem) == ("b c.py:f", "b")


def test_streaming_is_what_the_module_says(tmp_path: Path) -> None:
    model = load_own_module(mask(tmp_path))
    with pytest.raises(UserError, match=r"Mask has no method streaming\(chunk, lookahead\)"):
        model.family.streaming(model.network, 1, None)
    path = write(tmp_path, "odd", GRU.replace("recorder = ", "recorder = self.nothing, "))
    odd = load_own_module(OwnModule(f"{path}:Gru", 16_000, STFT, output="mask"))
    with pytest.raises(UserError, match=r"odd\.py:32: AttributeError"):
        odd.family.streaming(odd.network, 1, None)
