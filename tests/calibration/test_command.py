"""`frcrn-export calibrate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from frcrn_export.calibration import calibrate as module
from frcrn_export.cli import main
from frcrn_export.exporters.assets import DEMO_NOISY
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import write_bundle
from tests.calibration.bundles import TRAINED, contents, speed, write_masking_bundle
from tests.calibration.conftest import write_clips
from tests.calibration.test_source import as_model
from tests.pairs import RATE

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, command: str, *args: object) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as left:
        main([command, *map(str, args)])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


@pytest.mark.usefixtures("no_pictures", "twice_as_fast")
def test_tables_and_a_warning(
    masking_bundle: Path, clips_folder: Path, held_out: Path, capsys: Capture
) -> None:
    args = (masking_bundle, "--calib", clips_folder, "--for", "cpu", "-p", held_out)
    code, out, err = run(capsys, "calibrate", *args)
    assert code == 0
    assert err == "warning: 2 calibration clips; ranges need 32 or more, 64 are better\n"
    assert "4 of 4 layers that gain by it compute in INT8, 81.0 % of the multiplications" in out
    assert "2.00 times as fast" in out
    rows = [line for line in out.splitlines() if "core SNR" in line]
    assert "passed" in rows[0]
    assert "Random weights: for dry runs only" in out
    assert "packaged recording" not in out
    assert out.endswith(
        "The report: core.int8.cpu.quality.json, and the .md and .png files beside it.\n"
    )

    before = contents(masking_bundle)
    code, out, err = run(capsys, "calibrate", *args)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"{masking_bundle / 'core.int8.cpu.onnx'} exists; add --force to replace it" in err
    assert contents(masking_bundle) == before
    code, _, _ = run(capsys, "calibrate", *args, "--force", "--method", "minmax")
    assert code == 0
    entry = open_bundle(masking_bundle).manifest.file("core", "onnx", "int8", "cpu")
    assert entry is not None
    assert entry.quantization is not None
    assert entry.quantization.method == "minmax"


@pytest.mark.usefixtures("no_pictures")
def test_json_of_recordings_at_44100_hz_with_two_channels(
    tmp_path: Path, masking_bundle: Path, held_out: Path, capsys: Capture
) -> None:
    folder = tmp_path / "stereo"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(3):
        samples = 0.1 * random.standard_normal((66_150, 2))
        soundfile.write(folder / f"{index}.wav", samples, 44_100, subtype="PCM_16")
    args = ("--calib", folder, "-p", held_out, "--json")  # for the GPU by default
    code, out, err = run(capsys, "calibrate", masking_bundle, *args)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["file"] == "core.int8.onnx"
    assert report["quantization"]["target"] == "tensorrt"
    assert report["quantization"]["clips"] == 3
    assert report["speed"] is None
    assert report["warnings"] == ["3 calibration clips; ranges need 32 or more, 64 are better"]
    stored = (masking_bundle / "core.int8.quality.json").read_text()
    assert json.loads(stored) == report
    open_bundle(masking_bundle)


@pytest.mark.usefixtures("no_pictures", "twice_as_fast")
def test_a_failed_gate_of_quality_exits_with_1(
    tmp_path: Path, held_out: Path, capsys: Capture
) -> None:
    """Of a network that takes the level as it is, by recordings 46 dB below what comes."""
    bundle = write_masking_bundle(tmp_path / "bundles" / "b", level="none", weights=TRAINED)
    quiet = write_clips(tmp_path / "quiet", gain=1 / 200)
    before = contents(bundle)
    args = (bundle, "--calib", quiet, "--for", "cpu", "-p", held_out)
    code, out, err = run(capsys, "calibrate", *args)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "core.int8.cpu.onnx: mean core SNR" in err
    assert "at least 20 dB is needed" in err
    command = f"frcrn-export calibrate {bundle} --for cpu --calib {quiet} --pairs {held_out} --auto"
    assert command in err
    assert contents(bundle) == before


@pytest.mark.usefixtures("no_pictures")
def test_the_gate_of_speed_and_how_to_pass_it(
    masking_bundle: Path,
    clips_folder: Path,
    held_out: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "measure_speed", lambda *args, **options: speed(0.8))
    before = contents(masking_bundle)
    args = (masking_bundle, "--calib", clips_folder, "--for", "cpu", "-p", held_out)
    code, out, err = run(capsys, "calibrate", *args)
    assert (code, out) == (1, "")
    assert "core.int8.cpu.onnx: speed" in err
    assert err.rstrip().endswith("--allow-slower")
    assert contents(masking_bundle) == before
    code, out, _ = run(capsys, "calibrate", *args, "--allow-slower")
    assert code == 0
    assert "FAILED" in out
    manifest = (masking_bundle / "manifest.json").read_text()
    assert '"kept_slower": true' in manifest


def silent_folder(root: Path) -> Path:
    folder = root / "silent"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(2 * RATE), RATE)
    return folder


def empty_folder(root: Path) -> Path:
    folder = root / "empty"
    folder.mkdir()
    (folder / "notes.txt").write_text("none")
    return folder


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        (silent_folder, "no usable audio in"),
        (empty_folder, "no audio in this folder"),
        (lambda root: root / "absent", "no such folder"),
    ],
)
def test_folders_that_hold_nothing(
    folder: Any, says: str, masking_bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = contents(masking_bundle)
    code, out, err = run(capsys, "calibrate", masking_bundle, "--calib", folder(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert "--calib FOLDER" in err
    assert contents(masking_bundle) == before


def test_what_judges_is_refused(
    masking_bundle: Path, clips_folder: Path, held_out: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = shutil.copytree(clips_folder, tmp_path / "copied")
    samples = soundfile.read(held_out / "one.noisy.wav", dtype="float32")[0]
    soundfile.write(folder / "other.w64", samples, RATE, subtype="FLOAT")
    before = contents(masking_bundle)
    args = (masking_bundle, "--calib", folder, "--pairs", held_out)
    code, out, err = run(capsys, "calibrate", *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{folder / 'other.w64'} is {held_out / 'one.noisy.wav'}" in err
    assert contents(masking_bundle) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--for", "cpu", "--streaming"], "no float32 streaming core as ONNX in this bundle"),
        (["--streaming"], "no float32 streaming core as ONNX in this bundle"),
    ],
)
def test_bundles_without_the_core(
    options: list[str], says: str, tmp_path: Path, clips_folder: Path, capsys: Capture
) -> None:
    bundle = write_masking_bundle(tmp_path / "bundles" / "b")
    before = contents(bundle)
    code, out, err = run(capsys, "calibrate", bundle, "--calib", clips_folder, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert contents(bundle) == before


def test_a_bundle_of_torchscript_alone(tmp_path: Path, clips_folder: Path, capsys: Capture) -> None:
    bundle = write_bundle(tmp_path / "b", formats=("torchscript",))
    as_model(bundle, "wave-unet-16k")
    code, _, err = run(capsys, "calibrate", bundle, "--calib", clips_folder, "--for", "cpu")
    assert code == 2
    assert "run: frcrn-export onnx --model wave-unet-16k --checkpoint best.pt -o NEW_BUNDLE" in err


def test_frcrn_for_processors_needs_its_weights(
    masking_bundle: Path, clips_folder: Path, capsys: Capture
) -> None:
    as_model(masking_bundle, "frcrn-16k")
    before = contents(masking_bundle)
    args = (masking_bundle, "--calib", clips_folder, "--for", "cpu")
    code, _, err = run(capsys, "calibrate", *args)
    assert code == 2
    assert "the weights best.pt are not at hand (give them with --checkpoint)" in err
    code, _, err = run(capsys, "calibrate", *args, "-c", "absent.pt")
    assert code == 2
    assert "absent.pt: no such file" in err
    assert contents(masking_bundle) == before


def test_no_bundle(tmp_path: Path, clips_folder: Path, capsys: Capture) -> None:
    code, _, err = run(capsys, "calibrate", tmp_path / "absent", "--calib", clips_folder)
    assert code == 2
    assert "no bundle here" in err


@pytest.mark.parametrize(
    "options",
    [[], ["--calib", "x", "--for", "mars"], ["--calib", "x", "--minutes", "0"],
     ["--calib", "x", "--clips", "0"], ["--calib", "x", "--method", "guess"]],
)  # fmt: skip
def test_options_that_cannot_be_understood(options: list[str], capsys: Capture) -> None:
    code, out, _ = run(capsys, "calibrate", "b", *options)
    assert (code, out) == (2, "")


def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def calibrate_with(path: Path, settings: Any, **options: Any) -> None:
        given.update(path=path, settings=settings, **options)
        raise UserError("enough")

    given: dict[str, Any] = {}
    monkeypatch.setattr(module, "calibrate_with", calibrate_with)
    options = (
        "--calib a --calib b --for cpu --streaming --pairs p --method entropy --clips 5 --seed 7 "
        "--auto --minutes 1.5 --allow-slower -t 2 -c w.pt --force"
    )
    code, _, err = run(capsys, "calibrate", "bundle", *options.split())
    assert code == 2
    assert "enough" in err
    del given["progress"]
    assert given == {
        "path": Path("bundle"),
        "checkpoint": Path("w.pt"),
        "force": True,
        "settings": module.Settings(
            target="cpu",
            folders=(Path("a"), Path("b")),
            streaming=True,
            pairs=Path("p"),
            method="entropy",
            count=5,
            seed=7,
            auto=True,
            minutes=1.5,
            allow_slower=True,
            threads=2,
        ),
    }
    given.clear()
    run(capsys, "calibrate", "bundle", "--calib", "a")
    assert given["settings"] == module.Settings("tensorrt", (Path("a"),))
    assert (given["force"], given["checkpoint"]) == (False, None)


@pytest.mark.slow
def test_an_exported_bundle_from_start_to_end(
    trained_bundle: Path, clips_folder: Path, held_out: Path, tmp_path: Path, capsys: Capture
) -> None:
    """For both targets, whole and streaming, with pictures and real times; then `verify`."""
    bundle = shutil.copytree(trained_bundle, tmp_path / "bundles" / "b")
    # As loud as what judges, for streams begin with the level that they have.
    loud = shutil.copytree(clips_folder, tmp_path / "loud")
    samples = soundfile.read(DEMO_NOISY, dtype="float32")[0]
    soundfile.write(loud / "2.wav", samples[3 * RATE : 5 * RATE], RATE, subtype="FLOAT")
    common = (bundle, "--calib", loud, "--pairs", held_out, "-t", 1, "--allow-slower")
    stems = {
        "core.int8.cpu": ("--for", "cpu"),
        "core.int8": ("--for", "rtx4090d"),
        "core.streaming.int8.cpu": ("--for", "cpu", "--streaming"),
    }
    for stem, options in stems.items():
        code, _, err = run(capsys, "calibrate", *common, *options)
        assert code == 0, err
        page = (bundle / f"{stem}.quality.md").read_text()
        for kind in ("worst", "ranges"):
            assert (bundle / f"{stem}.{kind}.png").stat().st_size > 1000
            assert f"({stem}.{kind}.png)" in page
        assert not (bundle / f"{stem}.search.png").exists()  # nothing was searched
        content = json.loads((bundle / f"{stem}.quality.json").read_text())
        gates = {gate["name"]: gate["passed"] for gate in content["quantization"]["gates"]}
        assert [gates[name] for name in ("pesq", "si_sdr", "stoi", "core_snr")] == [True] * 4
        assert (content["speed"] is None) == (stem == "core.int8")
        assert content["quantization"]["share"] > 0.9
    manifest = open_bundle(bundle).manifest
    streaming = manifest.file("core_streaming", "onnx", "int8", "cpu")
    float32 = manifest.file("core_streaming", "onnx")
    assert streaming is not None
    assert float32 is not None
    assert streaming.streaming is not None
    assert float32.streaming is not None
    states = streaming.streaming.states
    shapes = [(state.name, state.shape) for state in states]  # it has no form of its own
    assert shapes == [(state.name, state.shape) for state in float32.streaming.states]
    assert "uint8" in [state.dtype for state in states]
    code, out, _ = run(capsys, "verify", bundle)
    assert code == 0
    for stem in stems:
        assert f"{stem}.onnx " in out
