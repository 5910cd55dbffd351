import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.engines.gpus import DEFAULT_GPU, FAMILIES, GPUS, find_gpu
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import SERVED_SMS, sm_text


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("RTX 4090 D", "rtx4090d"),
        ("rtx-4090d", "rtx4090d"),
        ("4090D", "rtx4090d"),
        ("NVIDIA GeForce RTX 4090 D", "rtx4090d"),
        ("rtx_4090", "rtx4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx4090laptop"),
        ("RTX 4060 Ti 16GB", "rtx4060ti"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtxpro6000"),
        ("Quadro RTX 6000", "quadrortx6000"),
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("orin", "agxorin"),
        ("Jetson AGX Orin", "agxorin"),
        ("dgx spark", "gb10"),
    ],
)
def test_finds_a_gpu_in_the_spellings_of_people_shops_and_drivers(spelling: str, name: str) -> None:
    assert find_gpu(spelling) is GPUS[name]


@given(st.sampled_from(sorted(GPUS)), st.data())
def test_finds_every_gpu_in_any_case_and_with_any_separators(
    name: str, data: st.DataObject
) -> None:
    title = GPUS[name].title
    separator = data.draw(st.sampled_from([" ", "-", "_", "  "]))
    assert find_gpu(title.swapcase().replace(" ", separator)) is GPUS[name]
    assert find_gpu(name.upper()) is GPUS[name]


@given(st.sampled_from(SERVED_SMS["tensorrt"]))
def test_finds_any_gpu_by_its_sm(sm: int) -> None:
    for spelling in (str(sm), sm_text(sm), f"sm{sm}", f"SM_{sm}", f"sm {sm_text(sm)}", f"cc{sm}"):
        gpu = find_gpu(spelling)
        assert (gpu.name, gpu.sm, gpu.memory_gb) == (f"sm{sm}", sm, None)
        assert find_gpu(gpu.name) == gpu


def test_default_is_the_rtx_4090_d() -> None:
    assert GPUS[DEFAULT_GPU].title == "RTX 4090 D"
    assert GPUS[DEFAULT_GPU].sm == 89


def test_every_gpu_is_served_and_has_memory() -> None:
    for gpu in GPUS.values():
        assert gpu.sm in SERVED_SMS["tensorrt"], gpu
        assert gpu.memory_gb is not None


def test_every_sm_is_of_one_family() -> None:
    assert sorted(sm for sms in FAMILIES.values() for sm in sms) == [*SERVED_SMS["tensorrt"]]


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [
        ("rtx4900d", "rtx4090d"),
        ("RTX 4080 Sper", "rtx4080super"),
        ("4091", "rtx4090"),
        ("h20", "h200"),
    ],
)
def test_suggests_near_names(wrong: str, suggestion: str) -> None:
    with pytest.raises(UserError, match=f"unknown GPU '{wrong}'.* {suggestion}[ ?]"):
        find_gpu(wrong)


@pytest.mark.parametrize("wrong", ["", "potato salad", "nvidia", "٨٩", "8.9.1"])
def test_a_name_without_near_ones_gets_the_default(wrong: str) -> None:
    with pytest.raises(UserError, match=r"unknown GPU .*--gpu 8\.9"):
        find_gpu(wrong)


@pytest.mark.parametrize("wrong", ["8.8", "61", "sm_99"])
def test_refuses_an_sm_that_nothing_serves(wrong: str) -> None:
    with pytest.raises(UserError, match=r"no TensorRT serves SM .*: 7\.5, 8\.0, .*8\.9"):
        find_gpu(wrong)


@given(st.text(max_size=20))
def test_any_text_is_a_gpu_or_a_one_line_error(text: str) -> None:
    try:
        said = find_gpu(text).title
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) == 1
