"""Which tensors share a scale, and which of them are worth having in uint8."""

from onnx import TensorProto, helper

from frcrn_export.calibration.graph.signals import Signal, copied_from, find_masks, find_signals
from tests.calibration.bundles import SIGNALS
from tests.calibration.graphs import (
    gemm_network,
    masking_network,
    matrix_network,
    summing_network,
)


def by_name(signals: list[Signal]) -> dict[str, Signal]:
    return {signal.name: signal for signal in signals}


def test_what_layers_read_and_write() -> None:
    found = by_name(find_signals(masking_network()))
    assert list(found) == SIGNALS
    assert found["analysis.out"].tensors == ("analysis.out", "shared")
    assert found["analysis.out"].observed == ("shared",)  # the ReLU hides what is before it
    assert found["analysis.out"].hidden == {"analysis.out"}
    assert found["excited"].observed == ("excited",)


def test_the_sums_of_a_network_and_what_is_cut_and_joined() -> None:
    found = by_name(find_signals(summing_network()))
    tensors = {name: signal.tensors for name, signal in found.items()}
    assert tensors == {
        "scaled": ("scaled",),
        "wide": ("wide", "soft", "re", "im", "turned"),
        "one.out": ("one.out",),
        "two.out": ("two.out", "masked"),
        "both": ("both",),  # a sum of sums is one between two that are wanted
        "less": ("less", "more", "joined"),
        "all": ("all",),
        "forth.out": ("forth.out",),
    }
    assert found["wide"].hidden == {"wide"}  # the leaky ReLU alone reads it
    assert found["wide"].observed == ("soft",)
    assert found["less"].observed == ("less", "more")
    assert found["two.out"].observed == ("two.out",)  # a mask makes no new values


def test_the_input_and_the_output_are_no_signals() -> None:
    tensors = {t for signal in find_signals(summing_network()) for t in signal.tensors}
    assert not tensors & {"wave", "enhanced", "last.out"}
    assert [signal.name for signal in find_signals(matrix_network())] == ["x", "z"]


def test_reordered_rows_keep_their_scale() -> None:
    found = by_name(find_signals(gemm_network()))
    assert found["x"].tensors == ("x", "y", "cut", "turned", "again")
    assert found["x"].observed == ("y",)
    assert found["z"].layers == ("second",)


def test_masks_are_truth_values_as_numbers() -> None:
    graph = summing_network().graph
    assert find_masks(graph) == {"inside", "inside.seen"}
    sources = copied_from(graph)
    assert sources["masked"] == ["two.out"]
    assert "scaled" not in sources  # by a number that is none


def test_layers_weigh_more_than_sums() -> None:
    """Twice as many channels, twice the work; a layer's output more than a sum of its size."""
    work = {signal.name: signal.work for signal in find_signals(summing_network())}
    assert work["one.out"] > work["both"] > 0
    assert work["all"] > work["both"]  # a layer reads it


def test_the_smaller_the_work_the_less_its_size_matters() -> None:
    """What float32 costs of a short stream is the operators that it takes."""

    def ratio(samples: int) -> float:
        sizes = {"batch": 1, "samples": samples}
        work = [signal.work for signal in find_signals(summing_network(), sizes)]
        return max(work) / min(work)

    assert ratio(1) < 1.1
    assert ratio(1 << 20) > 3


def test_a_graph_without_layers_for_int8_has_none() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [result])
    assert find_signals(helper.make_model(graph)) == []
