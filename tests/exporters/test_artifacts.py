"""What the table makes: the same bytes each time, each form once, each file hashed once."""

import errno
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from frcrn_export.exporters import bundle as bundling
from frcrn_export.exporters.artifacts import onnx_artifacts
from frcrn_export.exporters.bundle import (
    add_fp16_core,
    export_onnx,
    export_torchscript,
    require_same_weights,
)
from frcrn_export.exporters.families.wave_unet import FAMILY as family
from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.exporters.streaming_export import StreamingOptions
from frcrn_export.runtime.bundle import reader, transaction
from frcrn_export.runtime.bundle.filesystem import FileSystem
from frcrn_export.runtime.bundle.manifest import Weights
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import UserError
from tests.bundles import compared_files


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("wave-unet-16k", seed=1)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def paths(model: LoadedModel, **wanted: bool) -> list[str]:
    chosen = {"inline": False, "fp16": False, "streaming": False, **wanted}
    return [row.path for row in onnx_artifacts(model, **chosen)]


def test_the_rows_of_an_export(model: LoadedModel) -> None:
    assert paths(model) == ["core.onnx"]
    assert paths(model, inline=True) == ["denoiser.onnx"]
    assert paths(model, fp16=True) == ["core.onnx", "core.fp16.onnx"]
    assert paths(model, fp16=True, streaming=True) == [
        "core.onnx",
        "core.fp16.onnx",
        "core.streaming.onnx",
        "core.streaming.fp16.onnx",
    ]
    spectral = load_model("frcrn-16k-512", seed=0)
    assert paths(spectral) == ["core.onnx", "pre.onnx", "post.onnx", "core.long.onnx"]


def test_two_exports_are_equal_to_the_byte(model: LoadedModel, tmp_path: Path) -> None:
    for name in ("one", "two"):
        loaded = load_model("wave-unet-16k", seed=1)  # of the same numbers
        export_onnx(loaded, tmp_path / name, fp16=True, streaming=StreamingOptions())
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert len(one) == 6
    assert one == two
    export_onnx(model, tmp_path / "one", stft="inline", force=True)
    export_onnx(model, tmp_path / "two", stft="inline", force=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


_HASH = """
from frcrn_export.exporters.artifacts import TORCHSCRIPT
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.streaming_export import StreamingForms
forms = StreamingForms(load_model("wave-unet-16k", seed=1))
print(TORCHSCRIPT.make(forms)[1].sha256)
"""


@pytest.mark.slow
def test_torchscript_is_equal_to_the_byte() -> None:
    """From one process to the next: within one torch numbers the names of its classes."""
    one, two = (
        subprocess.run([sys.executable, "-c", _HASH], capture_output=True, check=True).stdout
        for _ in range(2)
    )
    assert len(one.strip()) == 64
    assert one == two


@pytest.mark.parametrize("lookahead", [None, 0])
def test_each_streaming_form_is_built_once(
    lookahead: int | None, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: Counter[tuple[Any, ...]] = Counter()
    build = family.streaming

    def counted(network: object, *options: Any) -> StreamingCore:
        built[options] += 1
        return build(network, *options)

    monkeypatch.setattr(family, "streaming", counted)
    export_onnx(model, tmp_path / "out", fp16=True, streaming=StreamingOptions(2, lookahead))
    assert set(built.values()) == {1}
    if lookahead is None:
        assert set(built) == {(2, None, "fp32"), (2, None, "fp16")}


def test_files_are_hashed_once(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: Counter[str] = Counter()
    sha256 = reader.sha256_of

    def counted(path: Path) -> str:
        hashed[path.name] += 1
        return sha256(path)

    monkeypatch.setattr(reader, "sha256_of", counted)
    export_onnx(model, tmp_path / "out", fp16=True, streaming=StreamingOptions())
    assert not hashed  # as they were written
    export_torchscript(model, tmp_path / "out")
    assert hashed == dict.fromkeys(
        set(contents(tmp_path / "out")) - {"manifest.json", "core.pt"}, 1
    )


class Full(FileSystem):
    """A disk that has no room for one file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = Path()

    def create(self, path: Path) -> int:
        self._path = path
        return super().create(path)

    def write(self, handle: int, content: memoryview) -> int:
        if self._path.name == self._name:
            super().write(handle, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(handle, content)


@pytest.mark.parametrize("there", [True, False])
def test_torchscript_on_a_full_disk(
    there: bool,
    model: LoadedModel,
    wave_unet_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "out"
    if there:
        shutil.copytree(wave_unet_bundle, path)
        before = contents(path)
    monkeypatch.setattr(transaction, "DISK", Full("core.pt"))
    kept = ", what was there is unchanged" * there
    with pytest.raises(UserError) as error:
        export_torchscript(model, path, force=True)
    assert str(error.value) == (
        f"{path}: No space left on device{kept}; make room or choose another path"
    )
    assert contents(path) == before if there else not path.exists()


def test_what_is_added_while_another_adds(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both had begun with the same bundle."""
    path = tmp_path / "out"
    export_onnx(model, path)
    compare = bundling.check_reference

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(bundling, "check_reference", compare)
        export_torchscript(model, path)
        return compare(*arguments, **options)

    monkeypatch.setattr(bundling, "check_reference", meanwhile)
    add_fp16_core(model, path)
    found = open_bundle(path).manifest
    assert [e.path for e in found.files] == ["core.onnx", "parity.npz", "core.pt", "core.fp16.onnx"]
    assert compared_files(found.parity) == {"core.onnx", "core.pt", "core.fp16.onnx"}


def test_weights_are_compared_by_their_numbers(model: LoadedModel, wave_unet_bundle: Path) -> None:
    present = open_bundle(wave_unet_bundle).manifest

    def with_weights(**fields: Any) -> tuple[Any, Any]:
        weights = Weights(source="checkpoint", name="a.pth", sha256="a" * 64)
        mine = msgspec.structs.replace(weights, **fields)
        bundled = msgspec.structs.replace(present, weights=weights)
        return bundled, LoadedModel(**{**vars(model), "weights": mine})

    require_same_weights(*with_weights(name="renamed.pth"), wave_unet_bundle)
    require_same_weights(*with_weights(source="default"), wave_unet_bundle)
    with pytest.raises(UserError, match=r"with the weights a\.pth, not wave-unet-16k with a\.pth"):
        require_same_weights(*with_weights(sha256="b" * 64), wave_unet_bundle)
    with pytest.raises(UserError, match=r"choose another path with -o"):
        require_same_weights(*with_weights(sha256=None, seed=1), wave_unet_bundle)
