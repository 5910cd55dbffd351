import logging
import warnings

import pytest

from frcrn_export.exporters.quiet import quiet_torch


def warn_from(module: str) -> None:
    warnings.warn_explicit("deprecated", FutureWarning, "file.py", 1, module=module)


def test_pytorch_is_quiet_within_and_all_is_as_it_was_afterwards() -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with pytest.raises(RuntimeError), quiet_torch():
            warn_from("torch.onnx.utils")
            warn_from("copyreg")
            warn_from("my_network")
            assert not logger.isEnabledFor(logging.WARNING)
            assert logger.isEnabledFor(logging.ERROR)
            raise RuntimeError
        assert warnings.filters == before
        warn_from("torch.onnx.utils")
    assert len(caught) == 2  # the user's own within, and PyTorch's afterwards
    assert logger.level == level
