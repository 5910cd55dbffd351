from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.registry import open_session
from tests.bundles import replace_core, write_bundle


def test_any_batch_and_length_run(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", gain=2.0, formats=("torchscript",))
    session = open_session(open_bundle(bundle), "torchscript")
    assert session.backend == "torchscript"
    for shape in [(1, 1, 8), (2, 1, 100)]:
        inputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        output = session.run(inputs)
        assert output.dtype == np.float32
        np.testing.assert_array_equal(output, 2 * inputs)


def test_a_shape_the_core_does_not_take_is_an_error(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", samples=16_384, formats=("torchscript",))
    session = open_session(open_bundle(bundle))
    with pytest.raises(BackendError, match=r"core\.pt: .*got \[1, 1, 16000\]"):
        session.run(np.zeros((1, 1, 16_000), np.float32))


def test_a_file_that_is_no_torchscript_is_an_error(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle", formats=("torchscript",))
    replace_core(root, b"not a module")
    with pytest.raises(BackendError, match=r"core\.pt: this PyTorch .* cannot load it"):
        open_session(open_bundle(root))
