import sys

import pytest

from frcrn_export.runtime.drawing import require_matplotlib
from frcrn_export.runtime.errors import UserError


@pytest.mark.parametrize("extra", ["plot", "bench"])
def test_without_matplotlib(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError) as found:
        require_matplotlib("a page", extra)
    said = str(found.value)
    assert said == f'a page needs matplotlib; run: pip install "frcrn-export[{extra}]"'


def test_with_it() -> None:
    pytest.importorskip("matplotlib")
    require_matplotlib("a page")
