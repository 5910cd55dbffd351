"""The stand-ins allow nothing that the real packages lack."""

from pathlib import Path

import pytest

from tests.standin import cuda, tensorrt
from tests.standin.signatures import (
    Class,
    Parameter,
    accepts,
    from_binding,
    from_python,
    from_stub,
)

CLASSIC_STUB = Path(__file__).parents[3] / "shared/typing/tensorrt/__init__.pyi"
# Names that only TensorRT-RTX has.
RTX_ONLY = {
    "IRuntimeConfig": {
        "cuda_graph_strategy",
        "dynamic_shapes_kernel_specialization_strategy",
        "create_runtime_cache",
        "set_runtime_cache",
    }
}
CLASSES = ["Runtime", "ICudaEngine", "IExecutionContext", "IRuntimeConfig", "ILogger"]
CLASSES += ["Refitter", "OnnxParserRefitter"]
RTX_CLASSES = ["IRuntimeCache"]
ENUMS = ["DataType", "TensorIOMode", "ExecutionContextAllocationStrategy"]
CUDA_CLASSES = ["Device", "Buffer", "Stream", "Event", "LegacyPinnedMemoryResource"]
RTX_ENUMS = ["CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy"]


def require_subset(standin: type, real: Class, left_out: frozenset[str] = frozenset()) -> None:
    mine = from_python(standin)
    for name, overloads in mine.methods.items():
        if name in left_out:
            continue
        assert name in real.methods, f"{standin.__name__}.{name}() does not exist"
        if name == "create_execution_context":  # overloads that differ in type alone
            continue
        assert accepts(real.methods[name], overloads[0]), f"{standin.__name__}.{name}"
    for name, settable in mine.attributes.items():
        if name in left_out:
            continue
        assert name in real.attributes, f"{standin.__name__}.{name} does not exist"
        assert real.attributes[name] or not settable, f"{standin.__name__}.{name} is read-only"


@pytest.mark.parametrize("name", CLASSES + RTX_CLASSES)
def test_tensorrt_rtx_has_every_call_and_attribute(name: str) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    require_subset(getattr(tensorrt, name), from_binding(rtx, name))


@pytest.mark.parametrize("name", ENUMS + RTX_ENUMS)
def test_tensorrt_rtx_has_every_member(name: str) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    assert {m.name for m in getattr(tensorrt, name)} <= set(getattr(rtx, name).__members__)


@pytest.mark.skipif(
    not CLASSIC_STUB.is_file(), reason="needs ../shared: the signatures of TensorRT 11.4"
)
@pytest.mark.parametrize("name", CLASSES)
def test_tensorrt_11_has_every_call_and_attribute(name: str) -> None:
    left_out = frozenset(RTX_ONLY.get(name, ()))
    require_subset(getattr(tensorrt, name), from_stub(CLASSIC_STUB, name), left_out)


@pytest.mark.skipif(
    not CLASSIC_STUB.is_file(), reason="needs ../shared: the signatures of TensorRT 11.4"
)
@pytest.mark.parametrize("name", ENUMS)
def test_tensorrt_11_has_every_member(name: str) -> None:
    real = from_stub(CLASSIC_STUB, name)
    assert {m.name for m in getattr(tensorrt, name)} <= set(real.attributes)


@pytest.mark.skipif(
    not CLASSIC_STUB.is_file(), reason="needs ../shared: the signatures of TensorRT 11.4"
)
def test_what_only_rtx_has_is_really_missing_in_tensorrt_11() -> None:
    for name, members in RTX_ONLY.items():
        real = from_stub(CLASSIC_STUB, name)
        assert not members & {*real.methods, *real.attributes}


@pytest.mark.parametrize("name", CUDA_CLASSES)
def test_cuda_core_has_every_call_and_attribute(name: str) -> None:
    core = pytest.importorskip("cuda.core")
    require_subset(getattr(cuda, name), from_python(getattr(core, name)))


def test_cuda_core_has_the_options_of_events() -> None:
    core = pytest.importorskip("cuda.core")
    mine = cuda.EventOptions()
    assert vars(mine) == {name: getattr(core.EventOptions(), name) for name in vars(mine)}
    assert core.EventOptions(timing_enabled=True).timing_enabled
    assert callable(core.Event.__sub__)


@pytest.mark.parametrize("name", ["GraphBuilder", "Graph"])
def test_cuda_core_has_every_call_of_graphs(name: str) -> None:
    graph = pytest.importorskip("cuda.core.graph")
    require_subset(getattr(cuda, name), from_python(getattr(graph, name)))


def test_the_driver_has_every_function() -> None:
    """Bindings name the newest form of a function without its suffix."""
    driver = pytest.importorskip("cuda.bindings.driver")
    names = [name for name in vars(cuda.Driver) if name.startswith("cu")]
    assert len(names) == 10
    assert all(hasattr(driver, name.removesuffix("_v2")) for name in names)
    attribute = driver.CUdevice_attribute
    assert int(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 75
    assert int(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == 76


def test_a_call_that_does_not_exist_is_found() -> None:
    class Invented:
        def set_binding_shape(self, index: int, shape: tuple[int, ...]) -> bool:
            return True

    rtx = pytest.importorskip("tensorrt_rtx")
    with pytest.raises(AssertionError, match="set_binding_shape"):
        require_subset(Invented, from_binding(rtx, "IExecutionContext"))


def test_parameters_are_compared() -> None:
    a, b = Parameter("a", False), Parameter("b", True)
    assert accepts([(a, b)], (a,))
    assert accepts([(a, b)], (a, b))
    assert not accepts([(a, b)], (b,))  # another name
    assert not accepts([(a, Parameter("c", False))], (a,))  # one that the real one needs
    assert not accepts([(a,)], (Parameter("a", True),))  # a default that it does not have


def test_attributes_that_the_binding_lacks_cannot_be_set() -> None:
    config = object.__new__(tensorrt.IRuntimeConfig)
    with pytest.raises(AttributeError, match="cuda_graphs_strategy"):
        config.cuda_graphs_strategy = tensorrt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
