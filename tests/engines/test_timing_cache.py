import errno
from pathlib import Path

import pytest

from frcrn_export.engines.build import save_timing_cache
from frcrn_export.runtime.errors import UserError


def test_a_full_disk_leaves_the_cache_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "timings.cache"
    save_timing_cache(b"before", cache)

    def full(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"timings\.cache: No space left on device: .* not written"):
        save_timing_cache(b"after", cache)
    assert cache.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [cache]


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="choose another --timing-cache"):
        save_timing_cache(b"data", tmp_path / "file" / "timings.cache")
