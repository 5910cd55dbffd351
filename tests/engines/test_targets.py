"""What --gpu takes: one GPU, several, families."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.engines import targets as module
from frcrn_export.engines.gpus import FAMILIES, GPUS
from frcrn_export.engines.targets import Targets, find_targets
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import SERVED_SMS

RTX = SERVED_SMS["tensorrt-rtx"]


@pytest.mark.parametrize(
    ("text", "name", "title", "sms"),
    [
        ("RTX 4090 D", "rtx4090d", "RTX 4090 D", (89,)),
        ("8.9", "sm89", "SM 8.9", (89,)),
        ("4090, rtx 3090", "rtx4090,rtx3090", "RTX 4090 and RTX 3090", (86, 89)),
        ("rtx4090,rtx4080,rtx4090", "rtx4090,rtx4080", "RTX 4090 and RTX 4080", (89,)),
        ("rtx3090,8.9,t4", "rtx3090,sm89,t4", "RTX 3090, SM 8.9 and T4", (75, 86, 89)),
        ("ampere", "ampere", "Ampere", (80, 86)),
        ("Ampere+", "ampere+", "Ampere and later", (80, 86, 89, 120, 121)),
        ("ada+", "ada+", "Ada and later", (89, 120, 121)),
        ("ada", "ada", "Ada", (89,)),
        ("rtx3090+", "rtx3090+", "RTX 3090 and later", (86, 89, 120, 121)),
        ("8.9 +", "sm89+", "SM 8.9 and later", (89, 120, 121)),
        ("blackwell", "blackwell", "Blackwell", (120, 121)),
        ("turing+", "turing+", "Turing and later", RTX),
        ("t4,ada+", "t4,ada+", "T4 and Ada and later", (75, 89, 120, 121)),
        ("hopper", "hopper", "Hopper", (90,)),
    ],
)
def test_names_lists_and_families(text: str, name: str, title: str, sms: tuple[int, ...]) -> None:
    found = find_targets(text)
    assert (found.name, found.title, found.sms) == (name, title, sms)
    assert find_targets(found.name) == found  # as a rebuild command names it


def test_what_a_family_leaves_out_is_known() -> None:
    assert find_targets("ampere+").left_out == (87, 90, 100, 103, 110)
    assert find_targets("t4,ampere").left_out == (87,)
    assert find_targets("rtx4090,rtx3090").left_out == ()


def test_auto_is_the_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "detect_gpu", lambda: GPUS["rtx3090"])
    assert find_targets("auto").name == "rtx3090"
    assert find_targets("auto,rtx4090").sms == (86, 89)
    assert find_targets("auto+").name == "rtx3090+"


@pytest.mark.parametrize("text", ["hopper+", "h100+", "8.7+", "orin+"])
def test_later_than_what_rtx_does_not_serve_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--gpu \S+\+: tensorrt-rtx, .* does not serve SM \d\.\d"):
        find_targets(text)


@pytest.mark.parametrize("text", ["", ",", "rtx4090,", "rtx4090,,rtx3090", "+", "ampere++", "a+b"])
def test_what_is_no_list_of_gpus(text: str) -> None:
    with pytest.raises(UserError, match="unknown GPU"):
        find_targets(text)


def test_all_gpus_fit_into_a_manifest() -> None:
    every = find_targets(",".join(name for name, gpu in GPUS.items() if gpu.sm in RTX))
    assert len(every.name) <= 255
    assert every.sms == RTX
    assert find_targets(every.name).sms == RTX


def test_the_least_memory_counts() -> None:
    def tightest(text: str) -> tuple[str, int]:
        gpu, gib = find_targets(text).tightest
        return gpu.name, gib

    assert tightest("rtx4090,rtx3060,a100") == ("rtx3060", 12)
    assert tightest("8.9") == ("sm89", 48)  # the largest of that SM
    assert tightest("ampere+") == ("sm86", 48)


@given(st.text(alphabet="rtx34590,+ampeda .8sm", max_size=24))
def test_any_text_is_a_target_or_a_one_line_error(text: str) -> None:
    try:
        found: Targets | None = find_targets(text)
        said = ""
    except UserError as error:
        found, said = None, str(error)
    assert len(said.splitlines()) <= 1
    if found is not None:
        assert set(found.sms) <= set(SERVED_SMS["tensorrt"])
        assert find_targets(found.name).sms == found.sms


def test_every_family_is_found() -> None:
    for name in FAMILIES:
        assert set(find_targets(name).sms) <= set(FAMILIES[name])
