import pytest
import torch
from torch import Tensor, nn

from frcrn_export.exporters.streaming_core import States, StreamingCore, run_streaming
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, StateSpec

LOOKAHEAD = 3


class NextThree(nn.Module):
    """Frame t of the output is the sum of the input's frames t to t + 3; and what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def forward(self, x: Tensor, end: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        self.ends.append(end.unique().item())
        seen = torch.cat([past, x], dim=2)
        sums = seen.unfold(2, LOOKAHEAD + 1, 1).sum(3)
        return sums, seen[:, :, -LOOKAHEAD:]


def summing_core(chunk: int) -> StreamingCore:
    states = (StateSpec(name="past", next="next_past", shape=("batch", 2, LOOKAHEAD), initial=7.0),)
    return StreamingCore(NextThree(), chunk, LOOKAHEAD, states, end=True)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("frames", [1, 4, 10])
def test_output_is_aligned_with_the_input_and_as_long(chunk: int, frames: int) -> None:
    given = torch.randn(3, 2, frames, dtype=torch.float64)
    padded = nn.functional.pad(given, (0, LOOKAHEAD))
    expected = padded.unfold(2, LOOKAHEAD + 1, 1).sum(3)
    torch.testing.assert_close(run_streaming(summing_core(chunk), given), expected)


def test_the_end_is_told_by_the_call_that_first_goes_past_it() -> None:
    core = summing_core(2)
    run_streaming(core, torch.zeros(1, 2, 4))  # of seven frames with the look-ahead
    assert core.module.ends == [UNKNOWN_END, UNKNOWN_END, 4, 4]
    core = summing_core(3)
    run_streaming(core, torch.zeros(1, 2, 4))
    assert core.module.ends == [UNKNOWN_END, 4, 4]


def test_states_begin_as_described() -> None:
    (state,) = summing_core(1).initial(4)
    assert state.shape == (4, 2, LOOKAHEAD)
    assert state.dtype == torch.float32
    assert (state == 7).all()


def test_a_part_takes_its_own_states_among_those_of_the_whole() -> None:
    def part(x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return x + sum(states), *(2 * state for state in states)

    states = States(torch.arange(1.0, 5.0)[:, None])
    first = states.value("first", ())
    states.keep(first)
    (y,) = states.through(part, 2, torch.tensor([100.0]))
    last = states.value("last", ())
    states.keep(last)
    assert (first.item(), y.item(), last.item()) == (1, 105, 4)
    assert [state.item() for state in states.next] == [1, 4, 6, 4]
