from types import SimpleNamespace

import pytest

from frcrn_export.engines import versions
from frcrn_export.engines.versions import check_version, cuda_major
from frcrn_export.runtime.errors import BackendError


@pytest.mark.parametrize("version", ["10.3.0b6", "10.13.3.9", "11.4.0"])
def test_releases_that_work(version: str) -> None:
    check_version("tensorrt", version)


@pytest.mark.parametrize(
    ("backend", "version"), [("tensorrt", "8.6.1"), ("tensorrt", "9.3"), ("tensorrt-rtx", "1.0.0")]
)
def test_releases_that_are_too_old(backend: str, version: str) -> None:
    with pytest.raises(BackendError, match=f"^{backend} {version} is too old, .*--upgrade"):
        check_version(backend, version)  # type: ignore[arg-type]


def install(monkeypatch: pytest.MonkeyPatch, *names: str, driver: int | None) -> None:
    found = [SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(versions, "distributions", lambda: found)
    monkeypatch.setattr(versions, "driver_cuda", lambda: driver)


def test_cuda_is_the_wheel_s(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "numpy", "tensorrt-cu12-libs", "tensorrt_rtx_cu13", driver=14)
    assert cuda_major("tensorrt") == 12
    assert cuda_major("tensorrt-rtx") == 13


def test_cuda_is_the_driver_s_where_tensorrt_came_without_wheels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "tensorrt", "tensorrt_rtx_cu13", driver=12)
    assert cuda_major("tensorrt") == 12


def test_cuda_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, driver=None)
    with pytest.raises(BackendError, match="cannot tell its CUDA version"):
        cuda_major("tensorrt")
