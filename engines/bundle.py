"""Adding an engine to a bundle: build it, describe it, record the verification of its source."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from frcrn_export.engines.build import BuiltEngine, build_plan
from frcrn_export.engines.build_log import Progress
from frcrn_export.engines.ep_context import context_name, ep_context
from frcrn_export.engines.options import BuildOptions
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import (
    QUANTIZED,
    EngineInfo,
    FileEntry,
    Manifest,
    Precision,
    QuantizationInfo,
    Role,
    Target,
)
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.bundle.remedies import calibrate_command, onnx_command
from frcrn_export.runtime.bundle.transaction import transaction
from frcrn_export.runtime.errors import BundleError, UserError
from frcrn_export.runtime.sessions.tensorrt_backends import sms_text


def engine_name(precision: Precision, options: BuildOptions) -> str:
    """The file name of an engine; engines for several streams contain their number."""
    kind = "core"
    if options.states:
        batch = options.profile.max[0]
        kind = "core.streaming" if batch == 1 else f"core.streaming.batch{batch}"
    sms = "-".join(map(str, options.targets.sms))
    return f"{kind}.{precision}.sm{sms}.{options.backend}.engine"


def engine_source(bundle: Bundle, precision: Precision, streaming: bool = False) -> FileEntry:
    """The ONNX file that engines of a precision are built from. Raises BundleError without it."""
    target: Target | None = "tensorrt" if precision in QUANTIZED else None
    role: Role = "core_streaming" if streaming else "core"
    entry = bundle.manifest.file(role, "onnx", precision, target)
    if entry is None and target is not None:
        raise BundleError(
            f"{bundle.path}: no {precision} {role} for TensorRT in this bundle; run: "
            f"{calibrate_command(bundle.path, target, precision, streaming=streaming)}"
        )
    if entry is None:
        kind = "streaming core" if streaming else "core"
        raise BundleError(
            f"{bundle.path}: no {precision} {kind} as ONNX in this bundle to build from; run: "
            f"{onnx_command(bundle.manifest, fp16=precision == 'fp16', streaming=streaming)}"
        )
    return entry


def require_new(bundle: Bundle, name: str, command: str | None = None) -> None:
    """Raise UserError where a bundle has a file of this name; `command` is what builds it."""
    if any(entry.path == name for entry in bundle.manifest.files):
        replace = f"run: {command} --force" if command else "add --force"
        raise UserError(f"{bundle.path / name} exists; to replace it {replace}")


def add_engine(
    destination: Path | Bundle,
    precision: Precision,
    options: BuildOptions,
    *,
    force: bool = False,
    progress: Progress | None = None,
    keep_log: Callable[[str], None] = lambda text: None,
) -> tuple[FileEntry, float]:
    """Build an engine from a bundle's ONNX core; add it, its layer report and EPContext file.

    With `options.states` it builds from the streaming core.

    Gives its entry and the build time in seconds. `keep_log` is called with the builder's output.
    Raises UserError where the engine exists already (unless `force`) or the disk is full, and as
    `build_plan`; the bundle is unchanged then.
    """
    if isinstance(destination, Bundle):
        bundle = destination
    else:
        bundle = open_bundle(destination, engines=not force)
    name = engine_name(precision, options)
    if not force:
        require_new(bundle, name)
    source = engine_source(bundle, precision, bool(options.states))
    built = build_plan(bundle.file(source), options, progress)
    keep_log(built.log)
    layers_name = f"{Path(name).stem}.layers.json"
    plan, layer_report = built.plan, built.layers.to_json()
    engine = msgspec.structs.replace(
        file_entry(plan, name, source.role, "engine", precision, source.inputs, source.outputs),
        engine=_info(bundle.manifest, source, name, layers_name, options, built),
        streaming=source.streaming,
        input_limit=source.input_limit,
        floor_db=source.floor_db if precision == "fp16" else None,
    )
    layers = file_entry(layer_report, layers_name, "layers", "json", precision)
    with transaction(bundle.path) as work:
        work.write(plan, engine)
        work.write(layer_report, layers)
        if engine.engine is not None and engine.engine.context is not None:
            work.write(*ep_context(engine))
        work.add(bundle.manifest, needs=(source,), force=force)
    return engine, built.seconds


def _info(
    manifest: Manifest,
    source: FileEntry,
    name: str,
    layers: str,
    options: BuildOptions,
    built: BuiltEngine,
) -> EngineInfo:
    return EngineInfo(
        backend=options.backend,
        version=built.version,
        cuda=built.cuda,
        gpu=options.targets.name,
        sms=options.targets.sms,
        source=source.path,
        source_sha256=source.sha256,
        profile=options.profile,
        layers=layers,
        context=None if options.strip_weights else context_name(name),
        verification=_verification(manifest, source, options, built),
        hardware_compatible=options.hardware_compatible,
        refittable=options.refittable,
        stripped=options.strip_weights,
        tf32=options.tf32,
        workspace_bytes=options.workspace_bytes,
    )


def _verification(
    manifest: Manifest, source: FileEntry, options: BuildOptions, built: BuiltEngine
) -> str:
    results = [r for r in manifest.parity if r.artifact.split(" ")[0] == source.path]
    if source.quantization is not None:
        verified = _gates(source.quantization)
    elif results and all(result.passed for result in results):
        worst = min(result.snr_db for result in results)
        verified = f"which passed parity on ONNX Runtime ({worst:.1f} dB or more)"
    else:
        verified = "for which the bundle has no parity results"
    return (
        f"Built by {options.backend} {built.version} for SM {sms_text(options.targets.sms)} from "
        f"{source.path}, {verified}. The engine itself has not been run: neither its output nor "
        "its speed is checked on a GPU."
    )


def _gates(quantization: QuantizationInfo) -> str:
    """The gates of a quantized file, measured on ONNX Runtime."""
    passed, failed, unmeasured = (
        [gate.name for gate in quantization.gates if gate.passed is outcome]
        for outcome in (True, False, None)
    )
    said = [
        f"{verb} {', '.join(gates)}"
        for verb, gates in (
            ("passed", passed),
            ("failed", failed),
            ("was not measured for", unmeasured),
        )
        if gates
    ]
    return f"which {' and '.join(said)}" if said else "for which no gate was measured"
