import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from frcrn_export.calibration.plan import Plan, Settings, make_plan
from frcrn_export.exporters.assets import DEMO_CLEAN, DEMO_NOISY
from frcrn_export.runtime.bundle.manifest import Target
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import UserError
from tests.calibration.bundles import LAYERS, SIGNALS
from tests.calibration.test_source import as_model
from tests.pairs import RATE, Signal

Make = Callable[..., Plan]


def silent(phase: str, done: int, steps: int) -> None:
    pass


@pytest.fixture
def planned(masking_bundle: Path, clips_folder: Path, held_out: Path) -> Make:
    def make(target: Target = "cpu", **changes: object) -> Plan:
        made = Settings(target, (clips_folder,), pairs=held_out, threads=1)
        settings = dataclasses.replace(made, **changes)  # type: ignore[arg-type]
        return make_plan(open_bundle(masking_bundle), settings, None, silent)

    return make


def test_layers_and_their_ranges(planned: Make) -> None:
    plan = planned()
    assert [signal.name for signal in plan.quantizer.candidates] == SIGNALS
    assert plan.quantizer.layers(SIGNALS) == set(LAYERS)
    assert list(plan.ranges) == plan.quantizer.observed
    assert plan.ranges["shared"].low == 0.0  # behind a ReLU
    assert plan.ranges["shared"].high > 0.1
    assert plan.file == "core.int8.cpu.onnx"
    assert len(plan.clips.clips) == 2
    assert [pair.name for pair in plan.pairs] == ["one"]


def test_a_file_of_some_signals(planned: Make) -> None:
    plan = planned()
    content = plan.quantized(["parallel.out", "encoder.out"])
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    quantized = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    two_bytes = {"shared", "shared_fine_float"}  # what both layers read stays float
    assert quantized == {"parallel.out_float", "encoded_float", *two_bytes}
    names = ["encoder.out", "parallel.out"]
    assert plan.quantized(names) == content
    assert planned().quantized(names) == content  # whenever it is made
    assert planned(method="minmax").quantized(names) != content


def test_for_tensorrt_the_depthwise_layer_is_none(planned: Make) -> None:
    plan = planned("tensorrt")
    names = [layer.name for layer in plan.quantizer.candidates]
    assert names == ["encoder", "grouped", "parallel"]
    assert plan.quantizer.layers(names) == set(names)
    assert list(plan.ranges) == plan.quantizer.observed == ["shared", "depthwise.out"]
    covered = plan.quantizer.covered(["grouped"], plan.ranges)
    assert [each.name for each in covered] == ["depthwise.out"]
    low, high = plan.ranges["depthwise.out"].low, plan.ranges["depthwise.out"].high
    assert covered[0].seen == (low, high)
    assert covered[0].chosen[0] == -covered[0].chosen[1]
    assert 0 < covered[0].chosen[1] <= max(-low, high)
    assert plan.file == "core.int8.onnx"
    assert plan.source.entry.path == "core.fp16.onnx"


def test_the_number_of_recordings(planned: Make) -> None:
    assert len(planned(count=1).clips.clips) == 1


@pytest.mark.parametrize("judged", ["noisy", "clean"])
def test_clips_that_judge_are_refused_whatever_they_are_called(
    planned: Make, held_out: Path, clips_folder: Path, tmp_path: Path, judged: str
) -> None:
    """Under another name, in another container, two folders down, beside others that may be."""
    folder = shutil.copytree(clips_folder, tmp_path / "copied")
    samples = soundfile.read(held_out / f"one.{judged}.wav", dtype="float32")[0]
    copied = folder / "deep" / "er" / "innocent.w64"
    copied.parent.mkdir(parents=True)
    soundfile.write(copied, samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=rf"innocent\.w64 is .*one\.{judged}\.wav; remove them"):
        planned(folders=(folder,))


@pytest.mark.parametrize("demo", [DEMO_NOISY, DEMO_CLEAN])
def test_the_packaged_recording_is_refused_where_it_judges(
    planned: Make, tmp_path: Path, demo: Path
) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    soundfile.write(folder / "a.wav", soundfile.read(demo, dtype="int16")[0], RATE)
    with pytest.raises(UserError, match=r"a\.wav is .*demo\."):
        planned(folders=(folder,), pairs=None)
    assert len(planned(folders=(folder,)).clips.clips) == 1  # judged by others


def test_a_part_of_what_judges_is_another_recording(
    planned: Make, tmp_path: Path, noisy: Signal
) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    soundfile.write(folder / "a.wav", noisy[: 5 * RATE // 4], RATE, subtype="FLOAT")
    assert len(planned(folders=(folder,)).clips.clips) == 1


def test_a_network_without_layers_for_int8(
    masking_bundle: Path, clips_folder: Path, held_out: Path
) -> None:
    from tests.bundles import replace_core, write_gain_onnx

    bundle = open_bundle(masking_bundle)
    entry = bundle.manifest.files[0]
    gain = masking_bundle.parent / "gain.onnx"
    write_gain_onnx(gain, entry, 0.5)
    replace_core(masking_bundle, gain.read_bytes())
    settings = Settings("cpu", (clips_folder,), pairs=held_out)
    with pytest.raises(UserError, match=r"core\.onnx has no layer that INT8 could") as cpu:
        make_plan(open_bundle(masking_bundle), settings, None, silent)
    next_one = f"run it as it is: frcrn-export denoise {masking_bundle} noisy.wav -o clean.wav"
    assert str(cpu.value).endswith(next_one)


def test_frcrn_whose_weights_are_not_at_hand(
    masking_bundle: Path, clips_folder: Path, held_out: Path
) -> None:
    settings = Settings("cpu", (clips_folder,), pairs=held_out)
    bundle = open_bundle(as_model(masking_bundle, "frcrn-16k"))
    with pytest.raises(UserError, match=r"best\.pt are not at hand") as refused:
        make_plan(bundle, settings, None, silent, force=True)
    assert str(refused.value).endswith(
        f"run: frcrn-export calibrate {masking_bundle} --for cpu --calib {clips_folder} "
        f"--pairs {held_out} --force --checkpoint best.pt"
    )


def test_steps_are_told(masking_bundle: Path, clips_folder: Path, held_out: Path) -> None:
    told: list[tuple[str, int, int]] = []
    settings = Settings("cpu", (clips_folder,), pairs=held_out, method="minmax", seed=9)
    make_plan(open_bundle(masking_bundle), settings, None, lambda *step: told.append(step))
    assert told[0] == ("reading the recordings", 0, 1)
    assert told[-1] == ("measuring ranges", 2, 2)


def test_ranges_are_those_of_what_the_runtime_gives(planned: Make) -> None:
    """At the level that it gives: with peak 1, however quiet the recordings are."""
    plan = planned()
    sample = np.float32(plan.ranges["shared"].high)
    analysis = next(t for t in plan.source.model.graph.initializer if t.name == "analysis.weight")
    weight = onnx.numpy_helper.to_array(analysis)
    assert 0.1 < sample <= np.abs(weight).sum(axis=(1, 2)).max()
