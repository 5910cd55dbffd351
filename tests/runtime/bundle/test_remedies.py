import shlex
from pathlib import Path

import click
import msgspec
import pytest

from frcrn_export.cli import cli
from frcrn_export.runtime.bundle.manifest import Manifest, Precision, Role, StreamingInfo, Weights
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.bundle.remedies import (
    build_again,
    export_again,
    export_to,
    first_engine,
    make_again,
    streaming_hint,
)
from tests.bundles import STFT, core_entry, manifest, write_bundle
from tests.int8_standins import add_int8, quantization
from tests.standin.install import add_engine

CHECKPOINT = Weights(source="checkpoint", name="my best.pt", sha256="0" * 64)
DEFAULT = Weights(source="default", name="wave-unet-16k.safetensors", sha256="0" * 64)


def described(**changes: object) -> Manifest:
    return msgspec.structs.replace(manifest(stft=STFT, files=(core_entry(STFT),)), **changes)


@pytest.mark.parametrize(
    ("options", "further"),
    [((), ("--mean", "so-far")), (("--mean", "window:3"), ())],
)
def test_a_network_is_exported_in_the_form_that_streams(
    options: tuple[str, ...], further: tuple[str, ...]
) -> None:
    found = described(options=options, streaming_options=further, weights=CHECKPOINT)
    assert streaming_hint(found, "trt") == (
        f"run: frcrn-export trt --streaming --model gain {' '.join((*options, *further))} "
        "--checkpoint 'my best.pt' -o NEW_BUNDLE"
    )
    assert ("so-far" in export_again(found)) is False


@pytest.mark.parametrize(
    "found",
    [
        manifest(files=(core_entry(samples=16_384),)),
        described(streaming_options=None),
    ],
)
def test_networks_that_cannot_stream_are_offered_windows_alone(found: Manifest) -> None:
    hint = streaming_hint(found, windows=True)
    assert hint == "recompute overlapping windows: windowed=True (--windowed)"
    assert streaming_hint(found) == "gain cannot stream: leave out --streaming"


def words_of(line: str) -> list[list[str]]:
    """The commands of a line without the program's name, each parsed as it is when pasted."""
    commands = [shlex.split(command)[1:] for command in line.split(" && ")]
    for name, *args in commands:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, list(args))  # raises for what it does not take
    return commands


OWN = {"module": "my.py:build", "input": "spectrum", "output": "mask", "streaming": True}


@pytest.mark.parametrize("gpu", [None, "auto"])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "fp8"])
@pytest.mark.parametrize("own", [False, True])
def test_the_commands_of_engines_are_commands(
    own: bool, precision: Precision, streaming: bool, gpu: str | None
) -> None:
    found = described(weights=CHECKPOINT, **({"variant": OWN} if own else {}))
    role: Role = "core_streaming" if streaming else "core"
    root = Path("it's; a $(b)")
    line = first_engine(root, found, precision, "tensorrt-rtx", role=role, batch=2, gpu=gpu)
    *before, trt = words_of(line)
    without = found.file("core", "onnx", "fp16") is None and precision != "fp32"
    assert bool(before) == (own and without)
    assert trt[1] == ("NEW_BUNDLE" if own and without else str(root))
    assert ("--checkpoint" in trt) == (without and not own)
    assert ("--calib" in trt) == (precision in ("int8", "fp8"))
    assert ("--gpu" in trt) == (gpu is not None)
    assert words_of(streaming_hint(found, "trt").removeprefix("run: "))


def test_an_engine_needs_no_weights_where_its_file_is_there() -> None:
    core = core_entry(STFT)
    fp16 = msgspec.structs.replace(core, precision="fp16", path="core.fp16.onnx")
    for changes in ({}, {"variant": OWN}):
        found = described(files=(core, fp16), weights=CHECKPOINT, **changes)
        line = first_engine(Path("b"), found, "fp16", "tensorrt")
        assert line == "frcrn-export trt b --fp16 --backend tensorrt"
        assert words_of(line)


def test_an_engine_that_is_built_again_is_a_command(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b c")
    add_engine(root, "tensorrt", low=(1, 1, 1), best=(1, 1, 9), high=(2, 1, 99))
    (engine,) = (entry for entry in open_bundle(root).manifest.files if entry.engine)
    for gpu in (None, "auto", "8.9"):
        ((_, path, *options),) = words_of(build_again(root, engine, gpu=gpu))
        assert path == str(root)
        assert options[options.index("--gpu") + 1] == (gpu or "rtx4090d")
        assert options[options.index("--samples") + 1] == "1:9:99"


def test_windows_are_the_second_choice_where_they_are_one() -> None:
    found = described(weights=DEFAULT)
    command = "run: frcrn-export onnx --streaming --model gain -o NEW_BUNDLE"
    assert streaming_hint(found) == command
    assert streaming_hint(found, windows=True).startswith(f"{command}, or recompute")


def test_a_bundle_is_exported_where_there_is_none(tmp_path: Path) -> None:
    assert export_to(tmp_path / "a b") == f"frcrn-export onnx -o '{tmp_path}/a b'"
    assert export_to(tmp_path) == f"frcrn-export onnx -o {tmp_path}"
    (tmp_path / "notes.txt").touch()
    assert export_to(tmp_path) == "frcrn-export onnx -o NEW_BUNDLE"


def test_a_bundle_is_exported_again_with_all_that_it_had() -> None:
    core = core_entry(STFT)
    info = StreamingInfo(chunk=2, lookahead=14, states=())
    streaming = msgspec.structs.replace(core, role="core_streaming", streaming=info)
    fp16 = msgspec.structs.replace(core, precision="fp16")
    assert export_again(described(files=(core, streaming, fp16))) == (
        "frcrn-export onnx --model gain --random-weights 0 --fp16 "
        "--streaming --chunk 2 --lookahead 14 -o NEW_BUNDLE"
    )
    engine = msgspec.structs.replace(streaming, format="engine", precision="fp16")
    assert export_again(described(files=(engine,))) == (  # in a pack
        "frcrn-export onnx --model gain --random-weights 0 --fp16 "
        "--streaming --chunk 2 --lookahead 14 -o NEW_BUNDLE"
    )
    whole = msgspec.structs.replace(core, role="pipeline")
    assert "--stft inline -o NEW_BUNDLE" in export_again(described(files=(whole,)))
    script = msgspec.structs.replace(core, format="torchscript")
    assert export_again(described(files=(script,))) == (
        "frcrn-export torchscript --model gain --random-weights 0 -o NEW_BUNDLE"
    )


def test_int8_files_and_their_reports_are_made_by_calibrate(tmp_path: Path) -> None:
    cpu = msgspec.structs.replace(
        core_entry(path="core.int8.cpu.onnx"), precision="int8", quantization=quantization()
    )
    gpu = msgspec.structs.replace(cpu, path="core.int8.onnx", quantization=quantization("tensorrt"))
    page = msgspec.structs.replace(
        core_entry(path="core.int8.cpu.quality.md"), role="report", format="markdown"
    )
    info = StreamingInfo(chunk=2, lookahead=14, states=())
    streaming = msgspec.structs.replace(
        cpu, path="core.streaming.int8.cpu.onnx", role="core_streaming", streaming=info
    )
    found = manifest(files=(core_entry(), gpu, cpu, page, streaming))

    def again(index: int) -> str:
        return make_again(tmp_path, found, found.files[index])

    command = f"frcrn-export calibrate {tmp_path} --for"
    made = "--method percentile --clips 64 --seed 3 --force"
    assert "frcrn-export onnx" in again(0)
    assert again(1) == f"{command} rtx4090d --calib FOLDER {made}"
    assert again(2) == again(3) == f"{command} cpu --calib FOLDER {made}"
    assert again(4) == f"{command} cpu --calib FOLDER --streaming {made}"


def test_fp8_files_and_their_engines_are_made_as_they_were(tmp_path: Path) -> None:
    """The engine's name begins as that of the file that it was built from."""
    root = write_bundle(tmp_path / "b")
    source = add_int8(root, lambda model: model, "tensorrt", precision="fp8")
    add_engine(root, "tensorrt", precision="fp8", low=(1, 1, 1), best=(1, 1, 9), high=(1, 1, 99))
    found = open_bundle(root).manifest
    engine = next(entry for entry in found.files if entry.engine is not None)
    assert engine.path.startswith(source.path.removesuffix("onnx"))
    assert make_again(root, found, source) == (
        f"frcrn-export calibrate {root} --for rtx4090d --fp8 --calib FOLDER "
        "--method percentile --clips 64 --seed 3 --force"
    )
    assert make_again(root, found, engine) == (
        f"frcrn-export trt {root} --fp8 --batch 1 --samples 1:9:99 --gpu rtx4090d "
        "--backend tensorrt --force"
    )
