import pytest

from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.pack.target import TARGETS, EngineTarget, find_target


def test_processors_and_engines() -> None:
    assert find_target("cpu") is None
    assert find_target("arm64") is None
    assert find_target("tensorrt-rtx:sm89") == EngineTarget("tensorrt-rtx", 89)
    assert find_target("tensorrt:sm87") == EngineTarget("tensorrt", 87)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CPU", "cpu"),
        ("arm", "arm64"),
        ("tensorrt-rtx:89", "tensorrt-rtx:sm89"),
        ("tensorrt-rtx:sm87", "tensorrt:sm87"),  # it serves no Orin
    ],
)
def test_another_target_is_refused_with_a_near_one(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown target '{name}'; did you mean {near}") as refused:
        find_target(name)
    assert str(refused.value).endswith(f"are: {', '.join(TARGETS)}")


def test_what_is_near_nothing_gets_the_list_alone() -> None:
    with pytest.raises(UserError, match=r"unknown target 'x\\x1b'; there are: cpu, arm64, tens"):
        find_target("x\x1b")
