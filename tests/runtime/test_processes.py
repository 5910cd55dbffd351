"""What holds a session belongs to its process: a fork is an error, pickling too."""

import copy
import os
import pickle
import traceback
from collections.abc import Callable

import numpy as np
import pytest

from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from tests.bundles import write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle

Opened = Denoiser | StreamingDenoiser | MultiStream


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Opened, Callable[[], object]]]:
    """A denoiser and streams, and a use of each."""
    folder = tmp_path_factory.mktemp("processes")
    streaming = write_streaming_bundle(folder / "streaming", Core())
    denoiser = Denoiser.open(write_bundle(folder / "bundle"), threads=2)
    stream = StreamingDenoiser.open(streaming)
    calls = MultiStream.open(streaming)
    number = calls.add()
    block = np.zeros(16_000, np.float32)
    return [
        (denoiser, lambda: denoiser(block)),
        (stream, lambda: stream.process(block)),
        (calls, lambda: calls.process({number: block})),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_forked_child_is_told_what_to_do(
    opened: list[tuple[Opened, Callable[[], object]]], index: int
) -> None:
    holder, use = opened[index]
    use()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            use()
            said = "nothing"
        except BackendError as error:
            said = str(error)
        except BaseException:
            said = traceback.format_exc()
        os.write(write, said.encode())
        os._exit(0)  # the session's threads are not there to be joined
    os.close(write)
    said = os.fdopen(read).read()
    os.waitpid(child, 0)
    name = type(holder).__name__
    assert f"this {name} was opened in process {os.getpid()}" in said
    assert f"call {name}.open in the child" in said
    use()


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("action", [pickle.dumps, copy.copy, copy.deepcopy])
def test_pickling_says_to_open_it_there(
    opened: list[tuple[Opened, Callable[[], object]]],
    index: int,
    action: Callable[[object], object],
) -> None:
    holder, _ = opened[index]
    with pytest.raises(TypeError, match=rf"call {type(holder).__name__}\.open there"):
        action(holder)
