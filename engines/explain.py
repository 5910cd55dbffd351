"""The commands of NVIDIA's tools that build and check the same engine."""

import shlex
from pathlib import Path

from frcrn_export.engines.options import BuildOptions
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from frcrn_export.runtime.sessions.tensorrt_backends import sm_text

_RTX_SWITCH = "POLYGRAPHY_USE_TENSORRT_RTX=1 "


def explain(
    source: Path, engine: Path, input_name: str, options: BuildOptions, floor_db: float
) -> list[str]:
    """Four shell commands: two ways to build `engine` from `source`, then the comparison.

    The builders are trtexec (tensorrt_rtx for TensorRT-RTX) and Polygraphy. The comparison runs
    `source` on ONNX Runtime and the engine on random input, and asks for `floor_db` dB of SNR; it
    needs the GPU.
    """
    inputs, outputs = f"{engine}.inputs.json", f"{engine}.outputs.json"
    reference = [
        *["polygraphy", "run", str(source), "--onnxrt"],
        *["--input-shapes", *_all_brackets(input_name, options.profile.opt, options)],
        *_end_range(options),
        *["--save-inputs", inputs, "--save-outputs", outputs],
    ]
    comparison = [
        *["polygraphy", "run", str(engine), "--model-type", "engine", "--trt"],
        *["--load-inputs", inputs, "--load-outputs", outputs],
        *["--compare", "snr", "--snr-threshold", f"{floor_db:g}"],
    ]
    switch = _RTX_SWITCH if options.backend == "tensorrt-rtx" else ""
    return [
        shlex.join(_trtexec(source, engine, input_name, options)),
        switch + shlex.join(_polygraphy(source, engine, input_name, options)),
        shlex.join(reference),
        switch + shlex.join(comparison),
    ]


def _trtexec(source: Path, engine: Path, name: str, options: BuildOptions) -> list[str]:
    """trtexec, or tensorrt_rtx, which takes the same flags."""
    profile = options.profile
    rtx = options.backend == "tensorrt-rtx"
    command = [
        *["tensorrt_rtx" if rtx else "trtexec", f"--onnx={source}", f"--saveEngine={engine}"],
    ]
    shapes = {"min": profile.min, "opt": profile.opt, "max": profile.max}
    if options.states:  # static shapes: the other two are the same by default
        shapes = {"opt": profile.opt}
    for which, shape in shapes.items():
        inputs = {name: shape} | options.state_shapes
        listed = ",".join(f"{key}:{_crosses(sizes)}" for key, sizes in inputs.items())
        command.append(f"--{which}Shapes={listed}")
    # TensorRT 10 needs the flag; 11 and TensorRT-RTX have no other mode.
    command.append(
        f"--computeCapabilities={_listed(options.targets.sms)}" if rtx else "--stronglyTyped"
    )
    if options.workspace_bytes is not None:
        command.append(f"--memPoolSize=workspace:{options.workspace_bytes}B")
    if options.timing_cache is not None:
        command.append(f"--timingCacheFile={options.timing_cache}")
    if options.hardware_compatible:
        command.append("--hardwareCompatibilityLevel=ampere+")
    if options.refittable:
        command.append("--refit")
    if options.strip_weights:
        command.append("--stripWeights")
    if not options.tf32:
        command.append("--noTF32")
    return [*command, "--profilingVerbosity=detailed", "--skipInference"]


def _polygraphy(source: Path, engine: Path, name: str, options: BuildOptions) -> list[str]:
    profile = options.profile
    command = [
        *["polygraphy", "convert", str(source), "--convert-to", "trt", "-o", str(engine)],
        "--strongly-typed",
        *["--trt-min-shapes", *_all_brackets(name, profile.min, options)],
        *["--trt-opt-shapes", *_all_brackets(name, profile.opt, options)],
        *["--trt-max-shapes", *_all_brackets(name, profile.max, options)],
    ]
    if options.backend == "tensorrt-rtx":
        command += ["--compute-capabilities", *map(sm_text, options.targets.sms)]
    if options.workspace_bytes is not None:
        command += ["--pool-limit", f"workspace:{options.workspace_bytes}"]
    if options.timing_cache is not None:
        cache = str(options.timing_cache)
        command += ["--load-timing-cache", cache, "--save-timing-cache", cache]
    if options.hardware_compatible:
        command += ["--hardware-compatibility-level", "ampere_plus"]
    if options.refittable:
        command.append("--refittable")
    if options.strip_weights:
        command.append("--strip-plan")
    if options.tf32:
        command.append("--tf32")
    return [*command, "--profiling-verbosity", "detailed"]


def _all_brackets(name: str, shape: tuple[int, ...], options: BuildOptions) -> list[str]:
    inputs = {name: shape} | options.state_shapes
    return [f"{key}:[{','.join(map(str, sizes))}]" for key, sizes in inputs.items()]


def _end_range(options: BuildOptions) -> list[str]:
    """Keep `end` unknown: before a random end of 0 or less the output would be silence."""
    ends = [state.name for state in options.states if len(state.shape) == 1]
    known = [f"{end}:[{UNKNOWN_END:.0f},{UNKNOWN_END:.0f}]" for end in ends]
    return ["--val-range", *known] if known else []


def _listed(sms: tuple[int, ...]) -> str:
    return ",".join(map(str, sms))


def _crosses(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
