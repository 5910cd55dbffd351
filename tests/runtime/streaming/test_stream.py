import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.streaming.stream import Fifo


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 1)), max_size=30))
def test_what_went_in_comes_out_in_order(steps: list[tuple[int, float]]) -> None:
    fifo = Fifo()
    written = read = 0
    for count, share in steps:
        fifo.write(np.arange(written, written + count, dtype=np.float32))
        written += count
        taken = int(share * len(fifo))
        expected = np.arange(read, read + taken, dtype=np.float32)
        np.testing.assert_array_equal(fifo.read(taken), expected)
        read += taken
        assert len(fifo) == written - read


def test_the_memory_is_used_again() -> None:
    fifo = Fifo()
    fifo.write(np.zeros(5_000, np.float32))
    buffers = []
    for _ in range(1000):
        fifo.write(np.zeros(700, np.float32))
        fifo.read(700)
        buffers.append(fifo._buffer)
    assert len(fifo) == 5_000
    assert all(buffer is buffers[20] for buffer in buffers[20:])


def test_more_than_there_is_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="2 samples wanted, 0 are there"):
        Fifo().read(2)
