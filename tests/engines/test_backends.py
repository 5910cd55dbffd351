"""Which backend builds for which GPUs, and what it says where none does."""

import pytest

from frcrn_export.engines import backends
from frcrn_export.engines.backends import check_served, resolve_backend
from frcrn_export.engines.gpus import GPUS
from frcrn_export.engines.targets import find_targets
from frcrn_export.runtime.errors import UserError


@pytest.mark.parametrize(
    ("installed", "present", "wanted", "backend"),
    [
        (True, "rtx4090", "rtx4090d", "tensorrt"),
        (True, "rtx3090", "rtx4090d", "tensorrt-rtx"),
        (True, None, "rtx4090d", "tensorrt-rtx"),
        (False, "rtx4090d", "rtx4090d", "tensorrt-rtx"),
        (True, "h100", "h200", "tensorrt"),
    ],
)
def test_auto_takes_classic_only_on_such_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    installed: bool,
    present: str | None,
    wanted: str,
    backend: str,
) -> None:
    monkeypatch.setattr(backends, "is_tensorrt_installed", lambda name: installed)
    monkeypatch.setattr(backends, "present_gpu", lambda: GPUS[present] if present else None)
    assert resolve_backend("auto", find_targets(wanted)) == backend


def test_auto_says_what_a_gpu_needs_that_rtx_does_not_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "present_gpu", lambda: None)
    with pytest.raises(UserError, match=r"H200 \(SM 9\.0\) needs classic TensorRT.*pip install"):
        resolve_backend("auto", find_targets("h200"))
    assert resolve_backend("auto", find_targets("h200"), here=False) == "tensorrt"
    assert resolve_backend("auto", find_targets("rtx4090d"), here=False) == "tensorrt-rtx"


def test_a_backend_that_is_named_is_taken_where_it_serves() -> None:
    assert resolve_backend("tensorrt", find_targets("rtx4090d")) == "tensorrt"
    with pytest.raises(UserError, match="does not serve H200"):
        resolve_backend("tensorrt-rtx", find_targets("h200"))
    with pytest.raises(UserError, match="unknown backend 'onnx'"):
        resolve_backend("onnx", find_targets("rtx4090d"))


def test_rtx_does_not_serve_data_centre_hopper() -> None:
    with pytest.raises(
        UserError, match=r"tensorrt-rtx does not serve H200 \(SM 9\.0\).*8\.9.*--backend tensorrt$"
    ):
        check_served("tensorrt-rtx", find_targets("h200"))
    check_served("tensorrt", find_targets("h200"))
    check_served("tensorrt-rtx", find_targets("rtx5090"))


def test_several_sms_are_for_rtx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    several = find_targets("rtx3090,rtx4090")
    assert resolve_backend("auto", several) == "tensorrt-rtx"
    with pytest.raises(UserError) as caught:
        resolve_backend("tensorrt", several)
    assert str(caught.value) == (
        "tensorrt builds an engine for one SM, RTX 3090 and RTX 4090 are SM 8.6, 8.9; give "
        "--backend tensorrt-rtx, or on a GPU from Ampere on: --gpu auto --hardware-compatible"
    )
    monkeypatch.setattr(backends, "is_tensorrt_installed", lambda name: True)
    monkeypatch.setattr(backends, "present_gpu", lambda: GPUS["rtx4090"])
    assert resolve_backend("auto", several) == "tensorrt-rtx"
    assert resolve_backend("auto", find_targets("rtx4080,rtx4090")) == "tensorrt"  # one SM


@pytest.mark.parametrize("choice", ["auto", "tensorrt-rtx"])
def test_a_gpu_of_several_that_rtx_does_not_serve_is_named(choice: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_backend(choice, find_targets("rtx4090,h100"))
    said = str(caught.value)
    assert said.startswith("tensorrt-rtx does not serve H100 (SM 9.0), only SM 7.5, ")
    assert said.endswith(
        "; use an engine without it, and for it alone --gpu h100 --backend tensorrt"
    )
