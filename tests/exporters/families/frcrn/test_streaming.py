"""FRCRN as a stream against FRCRN over the whole utterance."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.exporters.families.frcrn.network import FRCRN, FRCRN_16K, FrcrnConfig, Pooling
from frcrn_export.exporters.families.frcrn.streaming import decoders_ahead, stream_frcrn
from frcrn_export.exporters.family import Form
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from frcrn_export.runtime.errors import UserError
from tests.exporters.families.frcrn.test_lowered import random_network, relative_error

# Three encoders and decoders of every kind, an even number of rows among them.
SMALL = FrcrnConfig(
    bins=25, encoder_kernels=((5, 2), (5, 2), (4, 2)), channels=4, fsmn_hidden=5, fsmn_lorder=4,
    se_reduction=2,
)  # fmt: skip
FORMS: tuple[Form, ...] = ("fp32", "fp16")  # for processors and GPUs; test_int8_cpu.py has its own
POOLINGS: tuple[Pooling, ...] = ("cumulative", 1, 5)


def small_network(pooling: Pooling = "cumulative") -> FRCRN:
    return random_network(replace(SMALL, pooling=pooling)).double()


def spectrum(frames: int, batch: int = 2, config: FrcrnConfig = SMALL) -> torch.Tensor:
    torch.manual_seed(frames)
    return torch.randn(batch, 2, config.bins, frames, dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", POOLINGS)
@given(chunk=st.integers(1, 16), frames=st.integers(1, 40))
@settings(max_examples=12)
@torch.inference_mode()
def test_equals_the_whole_utterance_from_start_to_end(
    form: Form, pooling: Pooling, chunk: int, frames: int
) -> None:
    network = small_network(pooling)
    spec = spectrum(frames)
    core = stream_frcrn(network, chunk, form=form)
    assert core.lookahead == 2 * SMALL.depth
    assert relative_error(run_streaming(core, spec), network(spec)) < 1e-9


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 4])
@torch.inference_mode()
def test_the_published_size(form: Form, chunk: int) -> None:
    network = random_network(replace(FRCRN_16K, pooling="cumulative")).double()
    spec = spectrum(9, batch=1, config=FRCRN_16K)
    core = stream_frcrn(network, chunk, form=form)
    assert core.lookahead == 14
    assert relative_error(run_streaming(core, spec), network(spec)) < 1e-9


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_streams_of_a_batch_start_and_end_on_their_own(form: Form) -> None:
    """One stream joins later than the other, and ends sooner."""
    network = small_network()
    core = stream_frcrn(network, 1, form=form)
    first, second = spectrum(20, batch=1), spectrum(7, batch=1)
    join = 5
    silence = torch.zeros(1, 2, SMALL.bins, 1, dtype=torch.float64)
    states = core.initial(2, torch.float64)
    outputs: list[list[torch.Tensor]] = [[], []]
    for call in range(20 + core.lookahead):
        if call == join:  # a row whose states are set back
            fresh = core.initial(1, torch.float64)
            states = tuple(
                torch.cat((state[:1], new)) for state, new in zip(states, fresh, strict=True)
            )
        rows, ends = [], []
        for stream, start in ((first, 0), (second, join)):
            at = call - start
            length = stream.shape[3]
            rows.append(stream[..., at : at + 1] if 0 <= at < length else silence)
            ends.append(float(length) if at >= length else UNKNOWN_END)
        end = torch.tensor(ends, dtype=torch.float64)
        y, *following = core.module(torch.cat(rows), end, *states)
        states = tuple(following)
        for row, output in enumerate(outputs):
            output.append(y[row : row + 1])
    for stream, start, output in ((first, 0, outputs[0]), (second, join, outputs[1])):
        begin = start + core.lookahead
        got = torch.cat(output[begin : begin + stream.shape[3]], dim=3)
        assert relative_error(got, network(stream)) < 1e-9


@torch.inference_mode()
def test_what_was_heard_long_ago_is_forgotten_with_a_window() -> None:
    """After the network's memory a loud burst leaves no trace: nothing poisons the state."""
    core = stream_frcrn(small_network(pooling=5), 1)
    quiet = spectrum(160, batch=1)
    loud = quiet.clone()
    loud[..., 10:13] = 1e6
    difference = (run_streaming(core, loud) - run_streaming(core, quiet)).abs().amax(dim=(0, 1, 2))
    assert difference[10:13].max() > 1
    assert difference[120:].max() < 1e-9


@pytest.mark.parametrize("lookahead", range(2 * SMALL.depth + 1))
@torch.inference_mode()
def test_less_lookahead_is_less_delay(lookahead: int) -> None:
    """What comes out does not depend on frames later than the look-ahead, and does on that one."""
    core = stream_frcrn(small_network(), 1, lookahead)
    assert core.lookahead == lookahead
    spec = spectrum(12, batch=1)
    changed = spec.clone()
    changed[..., 8] += 1
    difference = (run_streaming(core, changed) - run_streaming(core, spec)).abs()
    per_frame = difference.amax(dim=(0, 1, 2))
    assert per_frame[: 8 - lookahead].eq(0).all()
    assert per_frame[8 - lookahead] > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("lookahead", range(2 * SMALL.depth))
@torch.inference_mode()
def test_without_lookahead_future_frames_are_zeros(form: Form, lookahead: int, chunk: int) -> None:
    """Exactly the network whose decoders multiply the frame after the present one by zero."""
    network = small_network()
    blind = copy.deepcopy(network)
    for unet, waits in zip((blind.unet, blind.unet2), decoders_ahead(3, lookahead), strict=True):
        for i, decoder_waits in enumerate(waits):
            transconv = unet.get_submodule(f"decoder{i}.transconv")
            for layer in (transconv.tconv_re, transconv.tconv_im):
                assert isinstance(layer, torch.nn.ConvTranspose2d)
                if not decoder_waits:
                    layer.weight[..., 0] = 0
    spec = spectrum(11)
    streamed = run_streaming(stream_frcrn(network, chunk, lookahead, form), spec)
    assert relative_error(streamed, blind(spec)) < 1e-9
    assert relative_error(streamed, network(spec)) > 1e-3


def test_the_decoders_that_wait() -> None:
    for lookahead in range(15):
        first, second = decoders_ahead(7, lookahead)
        assert len(first) == len(second) == 7
        assert sum(first) + sum(second) == lookahead


def test_what_cannot_stream() -> None:
    with pytest.raises(UserError, match="--squeeze-excite cumulative"):
        stream_frcrn(random_network(SMALL), 1)
    with pytest.raises(UserError, match="--lookahead 7: this network takes 0 to 6 frames"):
        stream_frcrn(small_network(), 1, 7)


def test_states_have_names_and_shapes_of_their_own() -> None:
    core: StreamingCore = stream_frcrn(small_network(), 3)
    names = [name for state in core.states for name in (state.name, state.next)]
    assert len(set(names)) == len(names)
    given = [state for state in core.states if state.name == "position"]
    assert [state.shape for state in given] == [("batch", 1)]
