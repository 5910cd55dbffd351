import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.run_limit import SECONDS_VARIABLE, RunLimit, interrupt_calls
from frcrn_export.runtime.sessions.session import Session
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.bundles import replace_core, write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle

SILENCE = np.zeros((1, 1, 16_000), np.float32)


def long_scan(model: onnx.ModelProto) -> bytes:
    """The model with minutes of a Scan before its output: 10^8 steps."""
    graph = model.graph
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["first" if name == output else name for name in node.output]

    def scalar(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.BOOL, [])

    body = helper.make_graph(
        [helper.make_node("Not", ["x"], ["y"])], "body", [scalar("x")], [scalar("y")]
    )
    # The number of steps comes from the input, so that nothing can be folded.
    graph.node.extend(
        [
            helper.make_node("Shape", ["first"], ["sizes"], end=1),
            helper.make_node("Mul", ["sizes", "many"], ["steps"]),
            helper.make_node(
                "ConstantOfShape",
                ["steps"],
                ["rows"],
                value=helper.make_tensor("value", TensorProto.BOOL, [1], [True]),
            ),
            helper.make_node("Scan", ["rows"], ["done"], body=body, num_scan_inputs=1),
            helper.make_node("Slice", ["done", "none", "one"], ["last"]),
            helper.make_node("Where", ["last", "first", "first"], [output]),
        ]
    )
    for name, number in (("many", 10**8), ("none", 0), ("one", 1)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
    return model.SerializeToString()


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    root = write_bundle(tmp_path / "slow")
    replace_core(root, long_scan(onnx.load(root / "core.onnx")))
    return root


@pytest.fixture
def session(slow: Path) -> Session:
    return open_session(open_bundle(slow), "onnxruntime-cpu", threads=1)


def test_a_run_is_stopped_at_its_limit(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "0.5")
    with pytest.raises(BackendError) as caught:
        session.run(SILENCE)
    assert str(caught.value).startswith("core.onnx: onnxruntime-cpu was stopped after 0.5 s")
    assert str(caught.value).endswith(f"set {SECONDS_VARIABLE}=5")


def test_a_streaming_core_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core("delay", 1, 1), stft=None)
    replace_core(root, long_scan(onnx.load(root / "core.streaming.onnx")))
    monkeypatch.setenv(SECONDS_VARIABLE, "0.5")
    stream = StreamingDenoiser.open(root)
    with pytest.raises(BackendError, match=r"was stopped after .* call reset\(\) to go on"):
        stream.process(np.zeros(4, np.float32))


def test_limits_are_seconds(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("soon", "0", "-1", "nan"):
        monkeypatch.setenv(SECONDS_VARIABLE, value)
        with pytest.raises(UserError, match="give a number of seconds above 0"):
            session.run(SILENCE)


def test_a_run_that_is_done_is_not_watched(tmp_path: Path) -> None:
    session = open_session(open_bundle(write_bundle(tmp_path / "b")), "onnxruntime-cpu")
    np.testing.assert_array_equal(session.run(SILENCE), SILENCE)
    assert not interrupt_calls()()


def test_an_interrupt_ends_a_run(session: Session) -> None:
    going = []

    def interrupt() -> None:
        time.sleep(0.3)
        going.append(interrupt_calls())

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session.run(SILENCE)
    thread.join()
    assert not going[0]()


def test_the_next_run_of_a_stream_is_another() -> None:
    """After Ctrl-C a stream still writes what was read: only the run of that moment must end."""
    limit = RunLimit("core.onnx", "cpu", 1)
    still_going = limit.run(lambda options: interrupt_calls())
    assert not still_going()
    assert not limit.run(lambda options: still_going())
    assert limit.run(lambda options: interrupt_calls()())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_run(slow: Path, tmp_path: Path, number: int) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", SILENCE[0, 0], 16_000)
    files = [str(tmp_path / "a.wav"), "-o", str(tmp_path / "out.wav")]
    process = subprocess.Popen(
        [sys.executable, "-m", "frcrn_export", "denoise", str(slow), *files],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    process.stderr.readline()  # the model's name
    time.sleep(1)  # the run has begun
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.split() == ["interrupted"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.wav"]
