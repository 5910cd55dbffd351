"""One waveform-to-waveform ONNX file: the published level and padding rules around the network.

The rules are small graphs in ONNX's text form, joined to the exported network, so that the single
file takes raw audio of any length and gives audio of the same length and level.
"""

from string import Template
from typing import Any

import onnx

from frcrn_export.runtime.bundle.manifest import Level, Padding

# The target of -25 dB and the 1e-6 are those of ClearerVoice, which restores the level.
_GAIN: dict[Level, str] = {
    "none": """
        gain = Constant <value = float[1, 1] {1.0}> ()
    """,
    "peak": """
        one = Constant <value = float {1.0}> ()
        magnitude = Abs (wave)
        peak = ReduceMax <keepdims = 1> (magnitude, time_axis)
        is_silent = Equal (peak, zero)
        to_one = Reciprocal (peak)
        gain = Where (is_silent, one, to_one)
    """,
    "active_rms": """
        one = Constant <value = float {1.0}> ()
        target = Constant <value = float {0.05623413251903491}> ()
        eps = Constant <value = float {1e-6}> ()
        power = Mul (wave, wave)
        mean_power = ReduceMean <keepdims = 1> (power, time_axis)
        rms = Sqrt (mean_power)
        rms_eps = Add (rms, eps)
        first = Div (target, rms_eps)
        is_active = Greater (power, mean_power)
        active = CastLike (is_active, power)
        count = ReduceSum <keepdims = 1> (active, time_axis)
        count_or_one = Max (count, one)
        active_power = Mul (power, active)
        active_sum = ReduceSum <keepdims = 1> (active_power, time_axis)
        active_mean = Div (active_sum, count_or_one)
        active_rms = Sqrt (active_mean)
        levelled_rms = Mul (active_rms, first)
        levelled_rms_eps = Add (levelled_rms, eps)
        second_or_inf = Div (target, levelled_rms_eps)
        is_flat = Equal (count, zero)
        second = Where (is_flat, one, second_or_inf)
        both = Mul (first, second)
        is_silent = Equal (rms, zero)
        gain = Where (is_silent, one, both)
    """,
}

_TOTAL = {
    "multiple": """
        one_sample = Constant <value = int64[1] {1}> ()
        less_one = Sub (size, one_sample)
        up = Add (samples, less_one)
        whole = Div (up, size)
        total = Mul (whole, size)
    """,
    "hops": """
        stride = Constant <value = int64[1] {$STRIDE}> ()
        beyond = Sub (samples, size)
        longer = Max (beyond, no_samples)
        rest = Mod (longer, stride)
        beyond_rest = Sub (stride, rest)
        missing_hop = Mod (beyond_rest, stride)
        further = Add (longer, missing_hop)
        total = Add (size, further)
    """,
    "windows": """
        stride = Constant <value = int64[1] {$STRIDE}> ()
        two_windows = Add (size, stride)
        beyond = Sub (samples, size)
        whole = Div (beyond, stride)
        covered = Mul (whole, stride)
        rest = Sub (beyond, covered)
        fits = Equal (rest, no_samples)
        twice = Add (samples, samples)
        extended = Sub (twice, covered)
        long_total = Where (fits, samples, extended)
        is_medium = Less (samples, two_windows)
        medium_total = Where (is_medium, two_windows, long_total)
        is_short = Less (samples, size)
        total = Where (is_short, size, medium_total)
    """,
}

_PREPARE = """
    <ir_version: $IR, opset_import: ["": $OPSET]>
    prepare (float[batch, samples] wave) => (float[batch, padded] prepared,
                                             float[gains, 1] level, int64[1] length) {
        zero = Constant <value = float {0.0}> ()
        no_samples = Constant <value = int64[1] {0}> ()
        time_axis = Constant <value = int64[1] {1}> ()
        $GAIN
        samples = Shape <start = 1, end = 2> (wave)
        size = Constant <value = int64[1] {$SIZE}> ()
        $TOTAL
        missing = Sub (total, samples)
        pads = Concat <axis = 0> (no_samples, missing)
        levelled = Mul (wave, gain)
        prepared = Pad (levelled, pads, zero, time_axis)
        level = Identity (gain)
        length = Identity (samples)
    }
"""

# The network may give a hop less than it took: zeros, as published, so that lengths stay equal.
_FINISH = """
    <ir_version: $IR, opset_import: ["": $OPSET]>
    finish (float[batch, padded] raw, float[gains, 1] level_back, int64[1] length_back)
        => (float[batch, samples] enhanced) {
        zero = Constant <value = float {0.0}> ()
        no_samples = Constant <value = int64[1] {0}> ()
        time_axis = Constant <value = int64[1] {1}> ()
        given = Shape <start = 1, end = 2> (raw)
        short_by = Sub (length_back, given)
        missing = Max (short_by, no_samples)
        pads = Concat <axis = 0> (no_samples, missing)
        full = Pad (raw, pads, zero, time_axis)
        cut = Slice (full, no_samples, length_back, time_axis)
        enhanced = Div (cut, level_back)
    }
"""


def inline_model(network: onnx.ModelProto, level: Level, padding: Padding) -> onnx.ModelProto:
    """Join the rules to a network `wave` [batch, samples] -> `enhanced` [batch, samples'].

    The result has the same input and output names; its output is as long as its input.
    """
    opset = next(entry.version for entry in network.opset_import if entry.domain == "")
    versions = {"IR": network.ir_version, "OPSET": opset}
    total = Template(_TOTAL[padding.rule]).safe_substitute(STRIDE=padding.stride)
    prepare = Template(_PREPARE).substitute(
        versions, GAIN=_GAIN[level], SIZE=padding.size, TOTAL=total
    )
    finish = Template(_FINISH).substitute(versions)
    inner = onnx.compose.add_prefix(network, "network.")
    front = onnx.compose.merge_models(
        onnx.parser.parse_model(prepare),
        inner,
        io_map=[("prepared", "network.wave")],
    )
    model = onnx.compose.merge_models(
        onnx.compose.add_prefix(front, "front."),
        onnx.parser.parse_model(finish),
        io_map=[
            ("front.network.enhanced", "raw"),
            ("front.level", "level_back"),
            ("front.length", "length_back"),
        ],
    )
    return _rename_input(model, "front.wave", "wave")


def _rename_input(model: Any, old: str, new: str) -> onnx.ModelProto:
    model.graph.input[0].name = new
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
    renamed: onnx.ModelProto = model
    return renamed
