import logging
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from onnx import helper

from frcrn_export.engines.build import build_plan
from frcrn_export.engines.memory import (
    Estimate,
    activation_bytes,
    check_estimate,
    check_taken,
)
from frcrn_export.engines.targets import find_targets
from frcrn_export.runtime.bundle.layer_report import memory, read_layer_report
from frcrn_export.runtime.bundle.manifest import Profile
from frcrn_export.runtime.errors import UserError
from tests.engines.tiny import BINS, options, tiny_core, tiny_model


def profile(batch: int, frames: int) -> Profile:
    small = (1, 2, BINS, 1)
    return Profile(min=small, opt=small, max=(batch, 2, BINS, frames))


def test_the_estimate_grows_with_the_shape_and_is_near_what_the_builder_takes(
    tmp_path: Path,
) -> None:
    one, ten = (
        activation_bytes(tiny_model(), {"spec": (1, 2, BINS, frames)}).bytes
        for frames in (100, 1000)
    )
    assert ten == 10 * one
    spec = 4 * 2 * BINS * 100
    assert one > 2 * spec  # the input and the output, and what lies between
    large = profile(4, 2000)
    built = build_plan(tiny_core(tmp_path / "core.onnx"), options(profile=large))
    taken = built.layers.activation_bytes
    assert taken is not None
    estimate = activation_bytes(tiny_model(), {"spec": large.max}).bytes
    assert taken / 3 < estimate < 3 * max(taken, 2 * 4 * 2 * BINS * 4 * 2000)


def test_a_profile_that_no_gpu_holds_is_refused_before_the_build(tmp_path: Path) -> None:
    core = tiny_core(tmp_path / "core.onnx")
    with pytest.raises(UserError) as caught:
        build_plan(core, options(profile=profile(64, 2**31 - 1)))
    said = str(caught.value)
    assert "the largest shape of the profile, [64, 2, 65, 2147483647], takes about" in said
    assert "RTX 4090 D has 24 GiB; lower the MAX of --batch, --frames or --samples" in said


def test_a_tight_profile_is_warned_of_and_an_ordinary_one_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = tiny_model().SerializeToString()
    each = activation_bytes(tiny_model(), {"spec": (1, 2, BINS, 1000)}).bytes
    tight = options(profile=profile(round(0.7 * 24 * 2**30 / each), 1000))
    with caplog.at_level(logging.WARNING):
        check_estimate(Path("core.onnx"), content, options())
        assert not caplog.messages
        check_estimate(Path("core.onnx"), content, tight)
    (line,) = caplog.messages
    assert "RTX 4090 D has 24 GiB; it may not run there" in line
    smaller = replace(tight, targets=find_targets("rtx2060"))
    with pytest.raises(UserError, match="RTX 2060 has 6 GiB"):
        check_estimate(Path("core.onnx"), content, smaller)


def test_the_smallest_of_several_gpus_counts(tmp_path: Path) -> None:
    each = activation_bytes(tiny_model(), {"spec": (1, 2, BINS, 1000)}).bytes
    large = options(profile=profile(round(9 * 2**30 / each), 1000), gpu="rtx4090,rtx3070")
    with pytest.raises(UserError, match="takes about 9.0 GiB .* RTX 3070 has 8 GiB"):
        build_plan(tiny_core(tmp_path / "core.onnx"), large)


def test_what_no_shape_tells_is_said_to_be_at_least(tmp_path: Path) -> None:
    unknown = helper.make_node("Mystery", ["relu"], ["mystery"], "node_mystery", domain="nobody")
    model = tiny_model(extra_nodes=(unknown,))
    shapes = {"spec": (1, 2, BINS, 10)}
    known = activation_bytes(tiny_model(), shapes)
    assert activation_bytes(model, shapes) == Estimate(known.bytes, complete=False)
    assert known.complete
    huge = options(profile=profile(64, 2**31 - 1))
    with pytest.raises(UserError, match="takes at least"):
        check_estimate(Path("core.onnx"), model.SerializeToString(), huge)


def test_the_estimate_stands_in_the_report(tmp_path: Path) -> None:
    built = build_plan(tiny_core(tmp_path / "core.onnx"), options())
    estimate = activation_bytes(tiny_model(), {"spec": options().profile.max})
    assert built.layers.estimated_activation_bytes == estimate.bytes
    assert memory(built.layers) == {
        "activation_bytes": built.layers.activation_bytes,
        "estimated_activation_bytes": estimate.bytes,
        "weights_bytes": built.layers.weights_bytes,
    }
    large = msgspec.structs.replace(built.layers, activation_bytes=2**33, weights_bytes=2**32)
    assert read_layer_report(large.to_json(), "layers.json") == large


def test_an_engine_that_takes_more_than_was_estimated_is_not_kept() -> None:
    core = Path("core.onnx")
    check_taken(core, 23 << 30, 1 << 30, options())
    check_taken(core, None, None, options())
    with pytest.raises(UserError) as caught:
        check_taken(core, 24 << 30, 1 << 20, options())
    assert str(caught.value) == (
        "core.onnx: built, and not kept: by the builder it takes 24.0 GiB for the largest shape of "
        "the profile, [2, 2, 65, 20], RTX 4090 D has 24 GiB; lower the MAX of --batch, --frames or "
        "--samples"
    )


def test_an_sm_stands_for_its_largest_gpu() -> None:
    content = tiny_model().SerializeToString()
    huge = options(profile=profile(64, 2**31 - 1), gpu="8.9")
    with pytest.raises(UserError, match="has 48 GiB"):
        check_estimate(Path("core.onnx"), content, huge)
