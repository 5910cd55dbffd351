"""`build_engine`: from a bundle to an engine in it, in one call."""

import shutil
from pathlib import Path

import pytest

from frcrn_export.engines import engine as module
from frcrn_export.engines.engine import build_engine
from frcrn_export.engines.options import BuildOptions
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BundleError, UserError

ENGINE = "core.fp16.sm89.tensorrt-rtx.engine"


def test_an_engine_is_built_into_the_bundle(engine_bundle: Path, tmp_path: Path) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    with pytest.raises(UserError, match=f"{ENGINE} exists"):
        build_engine(path, backend="tensorrt-rtx")
    told: list[str] = []
    said: list[str] = []
    entry = build_engine(
        open_bundle(path),
        backend="tensorrt-rtx",
        samples="640:1600:3200",
        batch=1,
        force=True,
        progress=lambda phase, done, steps: told.append(phase),
        keep_log=said.append,
    )
    assert entry.path == ENGINE
    assert entry.engine is not None
    assert entry.engine.profile.opt == (1, 1, 1600)
    assert entry.engine.sms == (89,)
    assert told
    assert len(said) == 1
    assert entry in open_bundle(path).manifest.files


def test_every_argument_arrives(
    engine_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(engine_bundle, tmp_path / "bundle")
    given: dict[str, object] = {}

    def add_engine(bundle: Path, precision: str, options: BuildOptions, **others: object) -> object:
        given.update(bundle=bundle, precision=precision, options=options, **others)
        return "entry", 0.0

    monkeypatch.setattr(module, "add_engine", add_engine)
    monkeypatch.setattr(module, "check_options", lambda options: None)
    entry = build_engine(
        str(path),
        precision="fp32",
        gpu="8.6",
        backend="tensorrt-rtx",
        batch="1:2:3",
        tf32=False,
        workspace_bytes=1 << 20,
        timing_cache="cache",
        hardware_compatible=True,
        strip_weights=True,
        force=True,
    )
    assert entry == "entry"
    options = given["options"]
    assert isinstance(options, BuildOptions)
    assert (given["bundle"], given["precision"], given["force"]) == (path, "fp32", True)
    assert (options.targets.sms, options.backend) == ((86,), "tensorrt-rtx")
    assert [sizes[0] for sizes in (options.profile.min, options.profile.opt)] == [1, 2]
    assert options.timing_cache == Path("cache")
    assert options.workspace_bytes == 1 << 20
    assert (options.tf32, options.hardware_compatible) == (False, True)
    assert options.refittable
    assert options.strip_weights


def test_what_cannot_be_built(wave_unet_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        build_engine(tmp_path / "gone", backend="tensorrt-rtx")
    with pytest.raises(UserError, match="rtx4090"):
        build_engine(wave_unet_bundle, gpu="rtx4090e")
    with pytest.raises(UserError, match="no streaming core"):
        build_engine(wave_unet_bundle, backend="tensorrt-rtx", streaming=True)
    with pytest.raises(UserError, match=r"calib|recordings"):
        build_engine(wave_unet_bundle, backend="tensorrt-rtx", precision="int8")
