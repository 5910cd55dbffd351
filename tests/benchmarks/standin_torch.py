"""Stands for PyTorch's CUDA on the processor: "on the GPU" is the processor, and nothing is timed.

Calls are checked against the signatures of the real functions. A CUDA graph is what it is on a GPU:
the operations that were captured, on the memory that they were captured with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

_CUDA = "cuda"


class Stream:
    cuda_stream = 0x100

    def wait_event(self, event: Event) -> None:
        assert event.recorded, "waits for an event that nobody recorded"


class Event:
    """The time of an event is its number: two in a row are 1 ms apart."""

    count = 0

    def __init__(self, timing: bool) -> None:
        self._timing, self.recorded = timing, 0

    def record(self, stream: Any = None) -> None:
        Event.count += 1
        self.recorded = Event.count

    def synchronize(self) -> None:
        assert self.recorded

    def elapsed_time(self, end_event: Event) -> float:
        assert self._timing
        assert end_event._timing
        assert 0 < self.recorded < end_event.recorded
        return float(end_event.recorded - self.recorded)


class Graph(TorchDispatchMode):
    """Records operations with the tensors they gave, and does them again into the same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, output))
        return output

    @torch.inference_mode()
    def replay(self) -> None:
        for func, args, kwargs, output in self._calls:
            again = func(*args, **kwargs)
            if isinstance(output, torch.Tensor):
                output.copy_(again)


@contextmanager
def capture(cuda_graph: Graph, stream: Stream) -> Iterator[None]:
    with cuda_graph:
        yield


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process believe that it has one GPU."""

    def put(name: str, standin: Callable[..., Any], real: Any = None) -> None:
        signature = inspect.signature(real or getattr(torch.cuda, name))

        def checked(*args: Any, **kwargs: Any) -> Any:
            signature.bind(*args, **kwargs)
            return standin(*args, **kwargs)

        monkeypatch.setattr(torch.cuda, name, checked)

    put("Event", lambda enable_timing=False: Event(enable_timing))
    put("Stream", Stream)
    put("current_stream", Stream)
    put("CUDAGraph", Graph)
    put("graph", capture)
    put("stream", lambda stream: nullcontext())
    put("synchronize", lambda: None)
    put("is_available", lambda: True)
    put("empty_cache", lambda: None)
    put("mem_get_info", lambda: (1 << 30, 1 << 31))
    put("max_memory_allocated", lambda: 7 << 20)
    put("reset_peak_memory_stats", lambda: None)
    properties = SimpleNamespace(
        name="Stand-in GPU", major=8, minor=9, total_memory=1 << 31, multi_processor_count=1
    )
    put("get_device_properties", lambda device: properties)

    zeros, to, tensor_to = torch.zeros, nn.Module.to, torch.Tensor.to

    def zeros_anywhere(*size: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        if _is_cuda(kwargs.get("device")):
            del kwargs["device"]
        return zeros(*size, **kwargs)

    def to_anywhere(self: Any, *args: Any) -> Any:
        return self if _is_cuda(args[0]) else to(self, *args)

    def tensor_to_anywhere(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self if args and _is_cuda(args[0]) else tensor_to(self, *args, **kwargs)

    monkeypatch.setattr(torch, "zeros", zeros_anywhere)
    monkeypatch.setattr(nn.Module, "to", to_anywhere)
    monkeypatch.setattr(torch.Tensor, "to", tensor_to_anywhere)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)


def _is_cuda(place: Any) -> bool:
    return isinstance(place, torch.device | str) and torch.device(place).type == _CUDA
