import sys
from pathlib import Path

import pytest

from frcrn_export.runtime.cache import cache_dir
from frcrn_export.runtime.errors import UserError


def test_the_variable_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FRCRN_EXPORT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path


@pytest.mark.parametrize(
    ("platform", "variable", "home", "place"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache", "frcrn-export"),
        ("win32", "LOCALAPPDATA", "AppData/Local", "frcrn-export/Cache"),
        ("darwin", "", "Library/Caches", "frcrn-export"),
    ],
)
def test_the_users_cache_folder(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    platform: str,
    variable: str,
    home: str,
    place: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("FRCRN_EXPORT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert cache_dir() == tmp_path / home / place
    if variable:
        for ignored in ("", "relative/folder"):
            monkeypatch.setenv(variable, ignored)
            assert cache_dir() == tmp_path / home / place
        monkeypatch.setenv(variable, str(tmp_path / "other"))
        assert cache_dir() == tmp_path / "other" / place


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("FRCRN_EXPORT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="no home folder.*set FRCRN_EXPORT_CACHE"):
        cache_dir()


def test_downloads_and_runtime_share_one_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from frcrn_export.exporters import weights
    from frcrn_export.exporters.registry import find_model

    monkeypatch.delenv("FRCRN_EXPORT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: list[Path] = []
    monkeypatch.setattr(weights, "_is_whole", lambda path, remote: asked.append(path))
    weights.cached(find_model("frcrn-16k"))
    assert [path.parent for path in asked] == [cache_dir()]
