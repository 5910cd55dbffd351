"""Classic TensorRT for machines without it: TensorRT-RTX behind TensorRT 11.4's signatures.

What the builder calls is the same in both but for what is here. A call, an attribute or an
argument that TensorRT 11.4 lacks raises, so the classic path is run for real up to the plan, which
is TensorRT-RTX's own.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import tensorrt_rtx as rtx

# What the builder takes from the module; all of it is the same in TensorRT 10 and 11.
_SAME = (
    "BuilderFlag",
    "Dims",
    "HardwareCompatibilityLevel",
    "ILogger",
    "IProgressMonitor",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ProfilingVerbosity",
)


class ClassicTensorRT(ModuleType):
    """The module `tensorrt`. `configs` are the configurations that were made.

    `layers` is what the engine inspector prints; where it is given, the builder does not log the
    layers itself.
    """

    def __init__(self, version: str = "11.4.0.1", layers: str | None = None) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.configs: list[Config] = []
        self.weights: list[str] = []  # of its engines, that can be refitted
        self.layers = layers
        for name in _SAME:
            setattr(self, name, getattr(rtx, name))

    def Builder(self, logger: rtx.ILogger) -> Builder:  # noqa: N802
        return Builder(self, logger)

    def Refitter(self, engine: Engine, logger: rtx.ILogger) -> Refitter:  # noqa: N802
        assert isinstance(logger, rtx.ILogger)
        return Refitter(self)

    def Runtime(self, logger: rtx.ILogger) -> Runtime:  # noqa: N802
        assert isinstance(logger, rtx.ILogger)
        return Runtime(self)


class Builder:
    def __init__(self, module: ClassicTensorRT, logger: rtx.ILogger) -> None:
        self._module = module
        self._builder = rtx.Builder(logger if module.layers is None else _WithoutLayers(logger))

    def create_network(self, flags: int = 0) -> rtx.INetworkDefinition:
        return self._builder.create_network(flags)

    def create_builder_config(self) -> Config:
        config = Config(self._builder.create_builder_config())
        self._module.configs.append(config)
        return config

    def create_optimization_profile(self) -> rtx.IOptimizationProfile:
        return self._builder.create_optimization_profile()

    def build_serialized_network(self, network: rtx.INetworkDefinition, config: Config) -> Any:
        return self._builder.build_serialized_network(network, config.real)


class Config:
    """IBuilderConfig as far as the builder uses it; `__slots__` refuses any other attribute."""

    __slots__ = ("cache", "flags", "hardware_compatibility_level", "real")

    def __init__(self, real: rtx.IBuilderConfig) -> None:
        self.real = real
        self.cache: TimingCache | None = None
        self.flags: set[str] = set()  # that TensorRT-RTX takes on a GPU alone
        self.hardware_compatibility_level = rtx.HardwareCompatibilityLevel.NONE
        # Stands for the GPU in the machine.
        real.num_compute_capabilities = 1
        real.set_compute_capability(rtx.ComputeCapability.SM89, 0)

    @property
    def profiling_verbosity(self) -> rtx.ProfilingVerbosity:
        return self.real.profiling_verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, value: rtx.ProfilingVerbosity) -> None:
        self.real.profiling_verbosity = value

    @property
    def progress_monitor(self) -> rtx.IProgressMonitor:
        return self.real.progress_monitor

    @progress_monitor.setter
    def progress_monitor(self, value: rtx.IProgressMonitor) -> None:
        self.real.progress_monitor = value

    def set_flag(self, flag: rtx.BuilderFlag) -> None:
        # Building a refittable engine takes TensorRT-RTX a GPU.
        if flag in (rtx.BuilderFlag.REFIT, rtx.BuilderFlag.STRIP_PLAN):
            self.flags.add(flag.name)
            return
        self.real.set_flag(flag)

    def clear_flag(self, flag: rtx.BuilderFlag) -> None:
        self.real.clear_flag(flag)

    def set_memory_pool_limit(self, pool: rtx.MemoryPoolType, pool_size: int) -> None:
        self.real.set_memory_pool_limit(pool, pool_size)

    def add_optimization_profile(self, profile: rtx.IOptimizationProfile) -> int:
        return self.real.add_optimization_profile(profile)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        """As TensorRT does: False for a cache of another GPU or release."""
        if cache.data and not cache.data.startswith(TimingCache.HEADER) and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        assert self.cache is not None
        return self.cache


class TimingCache:
    HEADER = b"timings of SM 8.9:"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return (self.data or self.HEADER) + b"+1"


class Runtime:
    def __init__(self, module: ClassicTensorRT) -> None:
        self._module = module

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine:
        assert isinstance(serialized_engine, bytes)
        return Engine(self._module)


class Engine:
    def __init__(self, module: ClassicTensorRT) -> None:
        self._module = module

    def create_engine_inspector(self) -> Engine:
        return self

    def get_engine_information(self, format: rtx.LayerInformationFormat) -> str:
        assert format == rtx.LayerInformationFormat.ONELINE
        assert self._module.layers is not None, "asked though the builder had logged the layers"
        return self._module.layers


class Refitter:
    def __init__(self, module: ClassicTensorRT) -> None:
        self._module = module

    def get_all_weights(self) -> list[str]:
        return self._module.weights


class _WithoutLayers(rtx.ILogger):
    def __init__(self, logger: rtx.ILogger) -> None:
        super().__init__()
        self._logger = logger

    def log(self, severity: rtx.ILogger.Severity, msg: str) -> None:
        if not msg.startswith("Layers:"):
            self._logger.log(severity, msg)
