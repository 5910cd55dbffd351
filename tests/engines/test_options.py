from collections.abc import Callable
from pathlib import Path

import pytest

from frcrn_export.engines import options as module
from frcrn_export.engines.gpus import find_gpu
from frcrn_export.engines.options import check_options, check_precision
from frcrn_export.engines.targets import find_targets
from frcrn_export.runtime.errors import UserError
from tests.engines.tiny import options

Machine = Callable[[str | None], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    def has(gpu: str | None) -> None:
        monkeypatch.setattr(module, "present_gpu", lambda: find_gpu(gpu) if gpu else None)

    return has


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timing_cache": Path("t.cache")}, "no timing cache; leave out --timing-cache"),
        (
            {"hardware_compatible": True},
            "no hardware-compatible .* give --gpu ampere.: one",
        ),
        ({"refittable": True}, "needs a GPU to build a refittable engine; leave out --refittable"),
        (
            {"refittable": True, "strip_weights": True},
            "needs a GPU to build a refittable engine; leave out --strip-weights",
        ),
        ({"gpu": "h200"}, r"does not serve H200 .*--backend tensorrt"),
        ({"workspace_bytes": 0}, "--workspace 0: needs at least 1 byte"),
    ],
)
def test_options_that_rtx_does_not_have(
    machine: Machine, changes: dict[str, object], reason: str
) -> None:
    machine(None)
    with pytest.raises(UserError, match=reason):
        check_options(options(**changes))  # type: ignore[arg-type]


def test_rtx_takes_the_rest_without_a_gpu(machine: Machine) -> None:
    machine(None)
    check_options(options(workspace_bytes=1, tf32=False))
    machine("rtx4090d")
    check_options(options(refittable=True))
    with pytest.raises(UserError, match=r"for one SM, RTX 4090 and T4 are SM 7.5, 8.9; leave out"):
        check_options(options(refittable=True, gpu="rtx4090,t4"))


@pytest.mark.parametrize(
    ("here", "wanted", "reason"),
    [
        (None, "rtx4090d", r"RTX 4090 D \(SM 8\.9\) is wanted, this machine has no GPU; .*rtx"),
        ("a100", "rtx4090d", r"has A100, SM 8\.0; run it on such a machine, or .*tensorrt-rtx"),
        ("a100", "h200", r"has A100, SM 8\.0; run it on such a machine$"),
    ],
)
def test_classic_builds_on_the_kind_of_gpu_it_builds_for(
    machine: Machine, here: str | None, wanted: str, reason: str
) -> None:
    machine(here)
    with pytest.raises(UserError, match=reason):
        check_options(options("tensorrt", gpu=wanted))


def test_classic_on_a_gpu_of_the_same_sm_takes_all_options(machine: Machine) -> None:
    machine("l4")
    check_options(
        options("tensorrt", timing_cache=Path("t"), hardware_compatible=True, refittable=True)
    )


def test_hardware_compatible_starts_at_ampere(machine: Machine) -> None:
    machine("t4")
    with pytest.raises(UserError, match=r"SM 8\.0 and later, T4 is SM 7\.5; leave out"):
        check_options(options("tensorrt", gpu="t4", hardware_compatible=True))


def test_fp8_needs_sm_8_9() -> None:
    for gpu in ("rtx4090d", "rtx5090", "8.9"):
        check_precision("fp8", find_targets(gpu))
    for precision in ("fp32", "fp16", "int8"):
        check_precision(precision, find_targets("rtx2080ti"))
    with pytest.raises(UserError, match=r"FP8 needs SM 8\.9 or later, .* is SM 8\.6; take --int8$"):
        check_precision("fp8", find_targets("rtx3090"))
