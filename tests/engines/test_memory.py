import logging
from dataclasses import replace
from pathlib import Path

import pytest

from frcrn_export.engines.build import build_plan
from frcrn_export.engines.gpus import find_gpu, gpu_of_sm
from frcrn_export.engines.memory import activation_bytes, check_memory
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
        activation_bytes(tiny_model(), {"spec": (1, 2, BINS, frames)}) for frames in (100, 1000)
    )
    assert ten == 10 * one
    spec = 4 * 2 * BINS * 100
    assert one > 2 * spec  # the input and the output, and what lies between
    large = profile(4, 2000)
    built = build_plan(tiny_core(tmp_path / "core.onnx"), options(profile=large))
    taken = built.layers.activation_bytes
    assert taken is not None
    estimate = activation_bytes(tiny_model(), {"spec": large.max})
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
    each = activation_bytes(tiny_model(), {"spec": (1, 2, BINS, 1000)})
    tight = options(profile=profile(round(0.7 * 24 * 2**30 / each), 1000))
    with caplog.at_level(logging.WARNING):
        check_memory(Path("core.onnx"), content, options())
        assert not caplog.messages
        check_memory(Path("core.onnx"), content, tight)
    (line,) = caplog.messages
    assert "RTX 4090 D has 24 GiB; it may not run there" in line
    smaller = replace(tight, gpu=find_gpu("rtx2060"))
    with pytest.raises(UserError, match="RTX 2060 has 6 GiB"):
        check_memory(Path("core.onnx"), content, smaller)


def test_an_sm_stands_for_its_largest_gpu() -> None:
    content = tiny_model().SerializeToString()
    huge = options(profile=profile(64, 2**31 - 1), gpu=gpu_of_sm(89))
    with pytest.raises(UserError, match="has 48 GiB"):
        check_memory(Path("core.onnx"), content, huge)
