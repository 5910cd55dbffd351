"""An engine of a bundle in steps: its copies and its network with CUDA events in between."""

from collections.abc import Callable

from benchmarks.gpu_timing import Parts
from benchmarks.gpu_workload import Float32Array
from frcrn_export.runtime.bench.gpu_parts import EngineSteps, open_lane
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError

Runner = Callable[[Float32Array], tuple[Float32Array, Parts]]


def engine_in_steps(bundle: Bundle, entry: FileEntry) -> Callable[[tuple[int, ...]], Runner]:
    """What runs one call at a time for a shape; it serves until the next shape is asked for."""
    lane = open_lane(bundle, entry)

    def runner(shape: tuple[int, ...]) -> Runner:
        if entry.engine is None or not entry.engine.profile.includes(shape):
            raise BackendError(f"{entry.path}: its profile does not include {list(shape)}")
        bound = lane.bind(shape)
        steps = EngineSteps(lane, (bound,))

        def run(inputs: Float32Array) -> tuple[Float32Array, Parts]:
            bound.inputs[0].host[...] = inputs
            (parts,) = steps.run(1)
            return bound.output.host.copy(), Parts(parts.h2d, parts.compute, parts.d2h)

        return run

    return runner
