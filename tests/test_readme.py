"""Every command and snippet in the README runs, in its order, and every link leads somewhere."""

import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile
import torch

from frcrn_export import cli
from frcrn_export.calibration import calibrate
from frcrn_export.exporters.assets import ASSETS, DEMO_CLEAN, DEMO_NOISY
from frcrn_export.exporters.families.frcrn import FAMILY as FRCRN
from frcrn_export.exporters.registry import registry
from frcrn_export.runtime.bundle.graph_cost import graph_cost
from frcrn_export.runtime.bundle.layer_report import census, read_layer_report
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, sha256_of
from tests.golden_weights import frcrn_golden_state

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = "".join(blocks("bash")).splitlines()
    return [shlex.split(line) for line in lines if line]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in for the published FRCRN file, on a server of its own, its hash pinned."""
    served = tmp_path / "served"
    served.mkdir()
    path = served / "pytorch_model.bin"
    torch.save(frcrn_golden_state(), path)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(served))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spec, *others = FRCRN.models
    assert spec.published is not None
    remote = replace(
        spec.published,
        url=f"http://127.0.0.1:{server.server_port}/{path.name}",
        size=path.stat().st_size,
        sha256=sha256_of(path),
    )
    monkeypatch.setattr(FRCRN, "models", (replace(spec, published=remote), *others))
    registry.cache_clear()
    monkeypatch.setenv("FRCRN_EXPORT_CACHE", str(tmp_path / "cache"))
    yield path
    server.shutdown()
    registry.cache_clear()


@pytest.mark.slow
@pytest.mark.longest
def test_the_main_job(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    samples, rate = soundfile.read(DEMO_NOISY)
    soundfile.write("noisy.wav", samples[: 2 * rate], rate)
    Path("recordings").mkdir()
    soundfile.write("recordings/one.flac", samples[:rate], rate)
    Path("pairs").mkdir()
    shutil.copy(DEMO_NOISY, "pairs/demo.noisy.flac")
    shutil.copy(DEMO_CLEAN, "pairs/demo.clean.flac")
    shutil.copy(ASSETS / "wave-unet-16k.safetensors", "my-denoiser.pt")
    # What is faster depends on the processor, and on what else it does.
    monkeypatch.setattr(calibrate, "measure_speed", lambda *args, **options: None)
    ran = [words for words in commands() if words[0] == "frcrn-export"]
    assert len(ran) >= 9
    if find_spec("pesq") is None:  # not compiled here: see `make install`
        judged = ("evaluate", "calibrate")
        ran = [w for w in ran if w[1] not in judged and not {"int8", "--int8"}.intersection(w)]
    for words in ran:
        with pytest.raises(SystemExit) as left:
            cli.main(words[1:])
        assert not left.value.code, words
    for made in ("clean.wav", "clean.png", "cleaned/one.flac", "mine/core.pt", "mine/core.onnx"):
        assert Path(made).is_file(), made
    _check_engine(open_bundle("frcrn"))
    _check_cost(Path("frcrn"))

    Path("streamed.wav").rename("by-denoise.wav")
    for snippet, made in zip(blocks("python"), ("clean.wav", "streamed.wav"), strict=True):
        Path(made).unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", snippet], check=True)
        assert soundfile.info(made).frames == 2 * rate
    _check_pipes(tmp_path / "programs", rate)


def _check_cost(bundle: Path) -> None:
    """The core has three real products for each complex one, the form for GPUs four.

    The core's widest layers make three rows with three fifths of the products as well.
    """
    second = {"batch": 1, "frames": 49}
    core = graph_cost(bundle / "core.onnx", second).flop
    fp16 = graph_cost(bundle / "core.fp16.onnx", second).flop
    assert core
    assert fp16
    assert core / 1e9 == pytest.approx(50.5, rel=0.002)
    assert fp16 / core == pytest.approx(1.68, rel=0.02)


def _check_pipes(programs: Path, rate: int) -> None:
    """Run the pipes, with stand-ins for what records and plays."""
    programs.mkdir()
    soundfile.write("noisy.raw", soundfile.read("noisy.wav")[0], rate, "PCM_16", format="RAW")
    tool = Path(sys.executable).with_name("frcrn-export")
    for name, does in {
        "arecord": "cat noisy.raw",
        "ffmpeg": "cat noisy.wav",
        "aplay": "cat > played.raw",
        "frcrn-export": f'exec {shlex.quote(str(tool))} "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    (lines,) = blocks("sh")
    for line in lines.splitlines():
        path = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(line, shell=True, check=True, env=os.environ | path)
    streamed = soundfile.read("by-denoise.wav", dtype="int16")[0]
    assert Path("played.raw").read_bytes() == streamed.tobytes()
    assert soundfile.read("talk.wav", dtype="int16")[0].tobytes() == streamed.tobytes()
    # The loop writes floats, which libsndfile cuts off rather than rounds.
    by_loop = soundfile.read("streamed.wav", dtype="int16")[0]
    assert abs(by_loop.astype(int) - streamed).max() <= 1


def _check_engine(bundle: Bundle) -> None:
    """FRCRN for the RTX 4090D as asked: every convolution in FP16, at most 45 MB, verified."""
    engine = next(e for e in bundle.manifest.files if e.engine is not None)
    assert engine.engine is not None
    assert (engine.engine.gpu, engine.engine.sms, engine.engine.verified_on) == (
        "rtx4090d",
        (89,),
        None,
    )
    assert engine.bytes <= 45e6
    report = read_layer_report((bundle.path / engine.engine.layers).read_bytes(), "layers")
    counts = census(report)
    assert counts["Conv"] == {"Half": 158}
    assert f"all {158} convolutions in FP16" in README
    assert "Float" in counts["Tanh"]  # the mask
    fp16 = [r for r in bundle.manifest.parity if r.artifact == "core.fp16.onnx"]
    assert all(r.passed for r in fp16)
    assert {r.floor_db for r in fp16} == {45, 35, 25}  # less in noise and where it is loud
    assert {f"reference.pipeline.{level}-dBFS" for level in (-50, -25, 0)} <= {r.case for r in fp16}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.skipif(find_spec("pesq") is None, reason="needs pesq")
def test_make_demo(tmp_path: Path) -> None:
    """The demo, with this environment in place of a new one."""
    made = subprocess.run(
        ["make", "demo", f"VENV={sys.prefix}", f"DEMO={tmp_path}", "-o", "install"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert "core.onnx" in made.stdout
    assert re.search(r"SI-SDR \(dB\).*\+\d", made.stdout)
    assert (tmp_path / "speech.flac").is_file()
    assert (tmp_path / "denoised.flac").is_file()
    assert (tmp_path / "denoised.png").read_bytes().startswith(b"\x89PNG")


def test_the_other_commands_are_what_they_are_said_to_be() -> None:
    others = [words for words in commands() if words[0] != "frcrn-export"]
    assert others == [
        ["make", "demo"],
        ["make", "test"],
        ["pip", "install", ".[cpu,export,rtx,plot,quality,bench]"],
        ["make", "cpp"],
    ]
    makefile = (ROOT / "Makefile").read_text()
    for words in others:
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", page.read_text()):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if heading:
            assert heading in anchors(target), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked to by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
