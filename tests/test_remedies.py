"""The commands that errors print, run as they are printed: what they are for is there afterwards.

The bundle lies in a folder whose name a shell would not take unquoted. Commands for other machines
(classic TensorRT, a GPU with another compute capability) and downloads are not among them.
"""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
import torch

from frcrn_export.cli import main
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import open_bundle
from tests.bundles import write_manifest
from tests.runtime.verify.test_parity import rewrite_manifest

Change = Callable[[Path], None]
SMALL = WaveUNetConfig(channels=(4, 6), strides=(4, 4), kernel_size=9)
NEW = Path("NEW_BUNDLE")  # where a command writes that does not touch the bundle


def altered(name: str) -> Change:
    def change(root: Path) -> None:
        (root / name).write_bytes(b"other bytes")

    return change


def damaged(name: str) -> Change:
    """As above, and the manifest agrees with it."""

    def change(root: Path) -> None:
        altered(name)(root)
        rewrite_manifest(root)

    return change


def without(*names: str) -> Change:
    def change(root: Path) -> None:
        described = parse_manifest((root / MANIFEST_NAME).read_bytes())
        for name in names:
            (root / name).unlink()
        files = tuple(entry for entry in described.files if entry.path not in names)
        write_manifest(root, msgspec.structs.replace(described, files=files))

    return change


def nothing(root: Path) -> None:
    shutil.rmtree(root)


DENOISE = "denoise {root} noisy.wav -o clean.wav -f"

# What was done to the bundle, the command that fails then, and the files that its remedy makes in
# another bundle; none where it mends this one, and the command passes afterwards.
CASES = {
    "no bundle": (nothing, DENOISE, ()),
    "altered core": (altered("core.onnx"), DENOISE, ("core.onnx", "core.pt")),
    "damaged core": (damaged("core.onnx"), DENOISE, ("core.onnx", "core.pt")),
    "damaged vectors": (damaged("parity.npz"), "verify {root}", ("core.onnx", "parity.npz")),
    "no streaming core": (lambda root: None, DENOISE + " --stream", ("core.streaming.onnx",)),
    "no float16 file": (lambda root: None, DENOISE + " --precision fp16", ("core.fp16.onnx",)),
    "no TorchScript": (without("core.pt"), DENOISE + " -b torchscript", ()),
    "TorchScript alone": (without("core.onnx"), DENOISE, ("core.onnx",)),
    "no core to build from": (without("core.onnx"), "trt {root} --fp32", ("core.onnx",)),
    "damaged TorchScript": (
        damaged("core.pt"),
        DENOISE + " -b torchscript",
        ("core.onnx", "core.pt"),
    ),
}


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str]]:
    """A command line, from a folder with a recording; gives the exit code and standard error."""
    soundfile.write(tmp_path / "noisy.wav", np.zeros(4_000), 16_000)
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line))
        code = left.value.code or 0
        assert isinstance(code, int)
        return code, capsys.readouterr().err

    return call


def printed(err: str) -> list[str]:
    """The commands that an error says, without the program's name."""
    *before, line = err.splitlines()
    assert all(warned.startswith("warning: ") for warned in before)
    assert line.startswith("error: ")
    text = line[line.index("frcrn-export ") :]
    commands = text.partition(", or ")[0].split(" && ")
    assert all(command.startswith("frcrn-export ") for command in commands)
    return [command.removeprefix("frcrn-export ") for command in commands]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_an_error_says_to_run(
    case: str, wave_unet_bundle: Path, tmp_path: Path, run: Callable[[str], tuple[int, str]]
) -> None:
    change, failing, made = CASES[case]
    root = Path(shutil.copytree(wave_unet_bundle, tmp_path / "it's; a $(b)"))
    change(root)
    line = failing.format(root=shlex.quote(str(root)))
    code, err = run(line)
    assert code == 2, err
    for command in printed(err):
        assert run(command)[0] == 0, command
    if made:
        names = {entry.path for entry in open_bundle(NEW).manifest.files}
        assert names.issuperset(made)
    else:
        assert run(line)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", ["inspect {root}", "trt {root} --fp16"])
def test_an_engine_is_built_anew_as_it_was(
    line: str, engine_bundle: Path, tmp_path: Path, run: Callable[[str], tuple[int, str]]
) -> None:
    root = Path(shutil.copytree(engine_bundle, tmp_path / "a b"))
    before = [entry.engine for entry in open_bundle(root).manifest.files if entry.engine]
    next(root.glob("*.layers.json")).unlink()
    code, err = run(line.format(root=shlex.quote(str(root))))
    assert code == 2
    (command,) = printed(err)
    assert run(command)[0] == 0
    after = [entry.engine for entry in open_bundle(root).manifest.files if entry.engine]
    assert [made.profile for made in after] == [made.profile for made in before]


@pytest.mark.slow
def test_a_first_engine(
    wave_unet_bundle: Path, tmp_path: Path, run: Callable[[str], tuple[int, str]]
) -> None:
    root = Path(shutil.copytree(wave_unet_bundle, tmp_path / "a b"))
    code, err = run(DENOISE.format(root=shlex.quote(str(root))) + " -b tensorrt-rtx")
    assert code == 2
    (command,) = printed(err)
    assert run(command)[0] == 0
    assert [entry.path for entry in open_bundle(root).manifest.files if entry.engine]


def test_an_engine_of_weights_that_are_not_at_hand(
    tmp_path: Path, run: Callable[[str], tuple[int, str]]
) -> None:
    """The bundle has no float16 core; the whole command is said, as it was and with the weights."""
    torch.save(WaveUNet(SMALL).state_dict(), "mine.pt")
    strides = "--strides 4,4 --level none"
    assert run(f"onnx --checkpoint mine.pt {strides} -o 'a b'")[0] == 0
    line = "trt 'a b' --fp16 --gpu rtx3090 --backend tensorrt-rtx --batch 1:2:3"
    code, err = run(line)
    assert code == 2
    assert "has no core.fp16.onnx to build from, and the weights mine.pt are not at hand" in err
    (command,) = printed(err)
    assert command.endswith(" --checkpoint mine.pt")
    assert run(command)[0] == 0
    (engine,) = (e for e in open_bundle("a b").manifest.files if e.engine)
    assert engine.engine is not None
    assert (engine.engine.gpu, engine.engine.profile.max[0]) == ("rtx3090", 3)
