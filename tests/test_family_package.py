"""A family is a plug-in: the package in `family_package/` goes through all commands as it is.

The product knows nothing of it. `docs/adding_a_network.md` is its walk-through, and runs here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import indent

import numpy as np
import onnx
import pytest
import soundfile
import torch

from benchmarks.source_tree import SourceTree
from frcrn_export.cli import main
from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.parity_vectors import core_inputs
from frcrn_export.exporters.recognition import load_checkpoint
from frcrn_export.exporters.registry import registry
from frcrn_export.exporters.streaming_core import run_streaming
from frcrn_export.runtime import family_packages
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import CheckpointError, UserError
from tests.installed import checkout, environment, install, run

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tests" / "family_package"
PAGE = (ROOT / "docs" / "adding_a_network.md").read_text()
RATE = 48_000


def test_the_product_names_neither_the_family_nor_its_option() -> None:
    pattern = re.compile(r"gru[-_ ]?mask|mask[-_ ]?(bound|max)\b", re.IGNORECASE)
    found = [name for name, text in SourceTree(ROOT).texts.items() if pattern.search(text)]
    assert found == []


def test_the_page_shows_the_package_as_it_is() -> None:
    shown = re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) == len(re.findall("^```(?:python|toml)$", PAGE, re.MULTILINE)) >= 10
    for name, snippet in shown:
        # A method stands on the page as a function does: less indented, with two lines around it.
        text, snippet = (re.sub(r"\n{3,}", "\n\n", t) for t in (file(name), snippet))
        assert snippet in text or indent(snippet, "    ") in text, f"{name}:\n{snippet}"


def file(name: str) -> str:
    return (PACKAGE / name).read_text()


@pytest.fixture
def _plugged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The family as if its package were installed here."""
    entry = EntryPoint("gru_mask", "gru_mask:FAMILY", family_packages.GROUP)
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setattr(family_packages, "entry_points", lambda group: [entry])
    registry.cache_clear()
    yield
    registry.cache_clear()


def network(bound: int = 2) -> LoadedModel:
    return load_model("gru-mask-48k", seed=3, options={"mask_bound": bound})


def save(path: Path, prefix: str = "net.denoiser.", **beside: object) -> Path:
    """A checkpoint of it, its tensors under a prefix."""
    state = network().network.state_dict()
    named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({"model": named, "epoch": 3, **beside}, path)
    return path


@pytest.mark.usefixtures("_plugged_in")
def test_a_checkpoint_is_recognised_under_a_prefix(tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth")
    assert load_checkpoint(path).model == "gru-mask-48k"
    loaded = load_model(checkpoint=path)
    assert loaded.settings == {"width": 16, "mask_bound": 1}
    assert [(one.setting, one.value) for one in loaded.assumptions] == [("mask_bound", "1")]
    assert load_model(checkpoint=path, options={"mask_bound": 2}).assumptions == ()


@pytest.mark.usefixtures("_plugged_in")
def test_its_option_is_read_from_the_configuration(tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth", config={"mask_max": 2})
    loaded = load_model(checkpoint=path)
    assert (loaded.settings["mask_bound"], loaded.assumptions) == (2, ())
    with pytest.raises(UserError, match="the checkpoint says 2"):
        load_model(checkpoint=path, options={"mask_bound": 3})
    with pytest.raises(CheckpointError, match="says sample rate 16000, gru-mask-48k has 48000"):
        load_model(checkpoint=save(tmp_path / "other.pth", config={"sample_rate": 16_000}))


@pytest.mark.usefixtures("_plugged_in")
def test_inspect_says_where_its_option_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "weights.pth", config={"mask_max": 2})
    with pytest.raises(SystemExit) as left:
        main(["inspect", str(path)])
    assert not left.value.code
    rows = [
        [cell.strip() for cell in row.split("│")] for row in capsys.readouterr().out.split("\n")
    ]
    assert ["", "mask_bound", "2", "`config.mask_max`", ""] in rows
    assert ["", "width", "16", "the tensors", ""] in rows


@pytest.mark.usefixtures("_plugged_in")
def test_options_of_another_family() -> None:
    with pytest.raises(UserError, match="frcrn-16k has no mask bound; leave out --mask-bound"):
        load_model("frcrn-16k", seed=1, options={"mask_bound": 2})
    with pytest.raises(UserError, match="gru-mask-48k has no strides; leave out --strides"):
        load_model("gru-mask-48k", seed=1, options={"strides": (4, 4)})
    with pytest.raises(UserError, match="--mask-bound 0: takes 1 or more"):
        network(bound=0)


@pytest.mark.usefixtures("_plugged_in")
@pytest.mark.parametrize("chunk", [1, 3])
@torch.inference_mode()
def test_call_by_call_it_is_the_network(chunk: int) -> None:
    model = network()
    spec = torch.randn(2, 2, 257, 25)
    expected = model.network(spec)
    torch.testing.assert_close(model.lowered(spec), expected, atol=1e-5, rtol=1e-5)
    exact = run_streaming(model.family.streaming(model.network, chunk, None), spec)
    torch.testing.assert_close(exact, expected, atol=1e-5, rtol=1e-5)
    fp16 = run_streaming(model.family.streaming(model.network, chunk, None, "fp16"), spec)
    assert 0 < (fp16 - expected).abs().max() < 0.02


@pytest.mark.usefixtures("_plugged_in")
@torch.inference_mode()
def test_parity_at_fewer_frames_than_a_centred_transform_gives() -> None:
    """The least that it takes is a sample more than half a window: two frames."""
    inputs = core_inputs(network(), torch.from_numpy(read_speech(RATE)), (1, 2, 7), batch=2)
    assert [tuple(given.shape) for given in inputs.values()] == [
        (1, 2, 257, 1),
        (1, 2, 257, 2),
        (1, 2, 257, 7),
        (2, 2, 257, 3),
    ]


FAMILY = "from gru_mask.family import GruMaskFamily\nFAMILY = GruMaskFamily()\n"
BROKEN = {
    "no_import": "import a_package_that_is_not_here",
    "exits": "raise SystemExit('no licence')",
    "one_name": FAMILY,
    "two_name": FAMILY,
}


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like site-packages with families that cannot be used, and one that can."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE / "gru_mask", folder / "gru_mask")
    for name, text in BROKEN.items():
        (folder / f"{name}.py").write_text(text)
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[frcrn_export.families]\n{name} = {name}:FAMILY\n")
    return folder


def command(plugged: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(plugged), str(ROOT)])}
    call = [sys.executable, "-m", "frcrn_export", *words]
    return subprocess.run(call, capture_output=True, text=True, timeout=120, env=environment)


def test_a_family_that_cannot_be_used_is_named_and_left_out(plugged: Path) -> None:
    done = command(plugged, "models")
    assert done.returncode == 0
    assert "gru-mask-48k" in done.stdout
    assert "wave-unet-16k" in done.stdout
    assert done.stderr.splitlines() == [
        "warning: family exits (exits:FAMILY) is left out: SystemExit: no licence",
        "warning: family no_import (no_import:FAMILY) is left out: ModuleNotFoundError: No module "
        "named 'a_package_that_is_not_here'",
        "warning: family two_name (two_name:FAMILY) is left out: a family named 'gru_mask' is "
        "already there",
    ]


def test_doctor_says_why(plugged: Path) -> None:
    import json

    done = command(plugged, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    abilities = json.loads(done.stdout)["abilities"]
    families = {a["name"]: a for a in abilities if a["name"].startswith("use the family")}
    works = {name.split()[3]: found["works"] for name, found in families.items()}
    assert works == {"exits": False, "no_import": False, "one_name": True, "two_name": False}
    left_out = families["use the family no_import (no_import:FAMILY)"]
    assert "No module named 'a_package_that_is_not_here'" in left_out["detail"]
    assert left_out["remedy"] == "pip uninstall no_import"
    twin = families["use the family two_name (two_name:FAMILY)"]
    assert "the family of one_name (one_name:FAMILY) has the same name 'gru_mask'" in twin["detail"]


def test_fetch_says_where_weights_come_from(plugged: Path) -> None:
    done = command(plugged, "fetch", "gru-mask-48k")
    assert done.returncode == 2
    assert "gru-mask-48k has no published weights to fetch" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("_plugged_in")
def test_the_page_from_the_wheel(tmp_path: Path) -> None:
    """Every command of the page, where the product's wheel and the package are installed."""
    work = tmp_path / "work"
    (work / "recordings").mkdir(parents=True)
    save(work / "weights.pth")
    for name in ("noisy.wav", "recordings/one.wav"):
        soundfile.write(work / name, read_speech(RATE), RATE)
    wheel = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "-w", tmp_path]
    run([*wheel, *options, checkout(tmp_path)], tmp_path)
    python = environment(tmp_path / "venv")
    install(python, *map(str, tmp_path.glob("*.whl")))
    install(python, str(shutil.copytree(PACKAGE, tmp_path / "gru-mask")))
    program = shlex.quote(str(python.with_name("frcrn-export")))

    said = {}
    for line in "".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)).splitlines():
        said[line] = shell(line.replace("frcrn-export", program, 1), work)
    assert len(said) == 12
    _check_what_was_said(said)
    _check_what_was_made(work)


def shell(line: str, folder: Path) -> str:
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"COLUMNS": "200"}
    call = {"shell": True, "cwd": folder, "env": environment, "capture_output": True}
    done = subprocess.run(line, timeout=300, **call)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{line}\n{done.stdout.decode()}{done.stderr.decode()}"
    text: str = done.stdout.decode() + done.stderr.decode()
    return text


def _check_what_was_said(said: Mapping[str, str]) -> None:
    assert "gru-mask-48k" in said["frcrn-export models"]
    inspected = said["frcrn-export inspect weights.pth"]
    assert "net.denoiser." in inspected
    assert "assumed: mask_bound 1" in inspected
    assert not any("assumed:" in text for line, text in said.items() if "--mask-bound" in line)


def _check_what_was_made(work: Path) -> None:
    assert open_bundle(work / "dry-run").manifest.has_random_weights
    bundle = open_bundle(work / "bundle")
    manifest = bundle.manifest
    assert (manifest.sample_rate, manifest.variant["mask_bound"]) == (RATE, 2)
    assert manifest.stft is not None
    assert (manifest.stft.window, manifest.stft.center) == ("hann", True)
    assert all(result.passed for result in manifest.parity)
    engines = [entry for entry in manifest.files if entry.format == "engine"]
    assert sorted(entry.role for entry in engines) == ["core", "core_streaming"]
    assert manifest.file("core", "torchscript") is not None

    streaming = manifest.file("core_streaming", "onnx")
    assert streaming is not None
    assert streaming.streaming is not None
    shapes = {state.name: state.shape for state in streaming.streaming.states}
    assert shapes == {"time": ("batch", 16, 2), "memory": ("batch", 1, 16)}

    # The GRU stays float, and what INT8 computes is a share of it all.
    int8 = manifest.file("core", "onnx", "int8", "cpu")
    assert int8 is not None
    assert int8.quantization is not None
    assert 0 < int8.quantization.share < 0.2
    graph = onnx.load(bundle.file(int8)).graph
    (gru,) = [node for node in graph.node if node.op_type == "GRU"]
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == 1}
    assert floats.issuperset(gru.input[1:4])

    clean, rate = soundfile.read(work / "clean.wav")
    streamed, _ = soundfile.read(work / "streamed.wav")
    assert rate == RATE
    assert len(clean) == len(streamed) == len(read_speech(RATE))
    assert np.abs(clean).max() > 0.1
    np.testing.assert_allclose(streamed, clean, atol=2 / 32768)
