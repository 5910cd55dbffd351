"""What `frcrn-export verify` does: the bundle's own vectors, and the live network where it can."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch

from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.parity_vectors import core_inputs
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Manifest, ParityResult
from frcrn_export.runtime.bundle.own_module import module_of
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, path_of, sha256_of
from frcrn_export.runtime.bundle.remedies import with_fp16
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.sessions.registry import RUNS_CODE
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.network import network_of
from frcrn_export.runtime.streaming.session import (
    StreamSession,
    open_stream_entry,
    streaming_entry,
)
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.parity import check_bundle, compare, open_artifacts
from frcrn_export.runtime.verify.streaming_parity import open_streamed

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel


@dataclass(frozen=True)
class ParityReport:
    """All comparisons, the files that none was made of, and why the live network took no part.

    `engines` says of each engine what is proven of it, `remedy` how to compare what was not.
    """

    results: tuple[ParityResult, ...]
    unchecked: tuple[str, ...]
    remedy: str
    why_not_live: str
    engines: dict[str, str]

    @property
    def live(self) -> bool:
        """Whether the live reference network was compared."""
        return not self.why_not_live

    @property
    def passed(self) -> bool:
        """Whether every comparison reached its floor."""
        return all(result.passed for result in self.results)


def verify(
    bundle: Bundle | Path | str,
    *,
    backends: Sequence[str] = (),
    checkpoint: Path | str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> ParityReport:
    """Compare every artifact of a bundle with the PyTorch reference.

    With the reference outputs inside the bundle, and where its weights are here also with the
    reference network itself, at lengths that were never traced. What engines gave is written into
    the manifest.

    Example:
        >>> report = frcrn_export.verify("wave")
        >>> report.passed, report.live
        (True, True)

    Args:
        bundle: A bundle.
        backends: Names in `frcrn_export.runtime.sessions.BACKENDS`. Empty: for each artifact one
            that is installed.
        checkpoint: The weights file that the bundle was made from, where the bundle does not say
            where its weights are.
        progress: Called with what is being done.

    Returns:
        Every comparison with its SNR in dB, its floor and its largest absolute error, and what was
        not compared. A miss is in the report; it raises nothing.

    Raises:
        BundleError: The bundle was altered, or cannot be read or written.
        BackendError: A backend that was named cannot run here.
        UserError: No artifact can run here; a checkpoint that does not match the manifest.
    """
    progress("checking the files")
    opened = open_bundle(path_of(bundle))
    weights = None if checkpoint is None else Path(checkpoint)
    names = tuple(backends)
    if weights is not None:
        require_same_checkpoint(opened.manifest, weights)
    progress("comparing with the reference outputs")
    results = tuple(check_bundle(opened, names))
    unchecked = _unchecked(opened, results)
    why_not = why_not_live(opened.manifest, weights)
    if not why_not:
        progress("comparing with the live network")
        results = (*results, *_live(opened, names, weights))
    engines = _record_engines(opened, results)
    return ParityReport(results, unchecked, how_to_check(opened, unchecked), why_not, engines)


def _live(
    bundle: Bundle, backends: tuple[str, ...], checkpoint: Path | None
) -> tuple[ParityResult, ...]:
    from frcrn_export.exporters.loading import load_bundled

    model = load_bundled(bundle.manifest, checkpoint)
    return tuple(check_live(bundle, StreamingForms(model), backends))


def _record_engines(bundle: Bundle, results: tuple[ParityResult, ...]) -> dict[str, str]:
    """What is proven of each engine, written into the manifest where one was run."""
    from frcrn_export.runtime.verify.engine_status import engines_run, record_runs

    if not engines_run(bundle.manifest, results):
        return {
            e.path: e.engine.verification for e in bundle.manifest.files if e.engine is not None
        }
    from frcrn_export.runtime.gpu import first_gpu

    recorded = record_runs(bundle, results, first_gpu().name)
    return {e.path: e.engine.verification for e in recorded.files if e.engine is not None}


def require_parity(results: tuple[ParityResult, ...]) -> None:
    """Raise CheckFailed naming the worst miss, if there is one."""
    missed = [result for result in results if not result.passed]
    if missed:
        worst = min(missed, key=lambda result: result.snr_db)
        raise CheckFailed(
            f"{len(missed)} of {len(results)} comparisons with the reference missed; the worst is "
            f"{worst.artifact}, {worst.case}: {worst.snr_db:.1f} dB, at least "
            f"{worst.floor_db:.0f} dB needed"
        )


def require_same_checkpoint(manifest: Manifest, checkpoint: Path) -> None:
    """Raise UserError for another checkpoint than the one a bundle was made from."""
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such file; give the checkpoint with --checkpoint")
    if sha256_of(checkpoint) != manifest.weights.sha256:
        raise UserError(
            f"{checkpoint}: not the file this bundle was made from "
            f"({manifest.weights.name}); leave out --checkpoint or give that one"
        )


def _unchecked(bundle: Bundle, results: tuple[ParityResult, ...]) -> tuple[str, ...]:
    """The artifacts without a comparison. Raises UserError if that is all of them."""
    checked = {result.artifact.split(" ")[0] for result in results}
    apart = ("parity", "layers", "report")
    files = [entry.path for entry in bundle.manifest.files if entry.role not in apart]
    if not checked.intersection(files):
        raise UserError(
            f"{bundle.path}: {', '.join(files)}: not compared; {how_to_check(bundle, files)}"
        )
    return tuple(path for path in files if path not in checked)


def how_to_check(bundle: Bundle, unchecked: Sequence[str]) -> str:
    """What to do about files that no backend was tried on, or that none here runs."""
    scripts = [e.path for e in bundle.manifest.files if e.format == "torchscript"]
    ways = []
    if any(path in scripts for path in unchecked):
        command = f"frcrn-export verify {quoted(bundle.path)} --backend torchscript"
        ways.append(f"{RUNS_CODE}, if you trust it run: {command}")
    if any(path not in scripts for path in unchecked):
        ways.append("no installed backend runs it, see: frcrn-export doctor")
    return "; ".join(ways)


def why_not_live(manifest: Manifest, checkpoint: Path | None) -> str:
    """Why the network that a bundle was made from cannot be had here; empty where it can."""
    if find_spec("torch") is None:
        return "torch is not installed"
    if (module := module_of(manifest)) is not None:
        return f"a bundle does not hold the code of your own module {module}"
    weights = manifest.weights
    if checkpoint is not None or weights.source == "random":
        return ""
    from frcrn_export.exporters.loading import weights_at_hand

    found = weights_at_hand(manifest.model)
    if found is None or sha256_of(found) != weights.sha256:
        return f"the weights {weights.name} are not at hand (give them with --checkpoint)"
    return ""


def load_live(manifest: Manifest, checkpoint: Path | None, reason: str) -> "LoadedModel":
    """The network with its weights, which `checkpoint` holds if the bundle does not say where.

    Raises UserError for another checkpoint, and where they are not here: `reason`, which says why
    they are needed, begins its message.
    """
    if checkpoint is not None:
        require_same_checkpoint(manifest, checkpoint)
    if why := why_not_live(manifest, checkpoint):
        if module_of(manifest) is not None:
            raise UserError(f"{reason}, and {why}; run: {with_fp16(manifest)}")
        raise UserError(f"{reason}, and {why}")
    from frcrn_export.exporters.loading import load_bundled, quieten_torch

    quieten_torch()
    return load_bundled(manifest, checkpoint)


_HOPS = (2, 31, 64)
_BATCH = 3
_PIPELINE_SAMPLES = (1_000, 20_001)
# Where float16 could overflow or underflow. Peaks in dB of full scale.
_LEVELS_DBFS = (-50, -25, 0)
_LEVEL_SAMPLES = 16_000


def check_live(
    bundle: Bundle,
    forms: StreamingForms,
    backends: tuple[str, ...] = (),
    whole: Bundle | None = None,
) -> Iterator[ParityResult]:
    """Compare every core and every pipeline of a bundle with its model.

    `whole` is the bundle with all its files, where `bundle` is what is added to it.
    """
    yield from _check_cores(bundle, forms.model, backends)
    yield from _check_streaming(bundle, forms, backends)
    yield from _check_levels(bundle, forms.model, backends)
    yield from _check_stream_levels(bundle, whole or bundle, backends)


@torch.inference_mode()
def _check_cores(
    bundle: Bundle, model: LoadedModel, backends: tuple[str, ...]
) -> Iterator[ParityResult]:
    """Cores at several lengths and batch sizes, and whole pipelines."""
    speech = torch.from_numpy(read_speech(model.sample_rate))
    inputs = core_inputs(model, speech, _HOPS, _BATCH)
    outputs = {name: model.network(given).numpy() for name, given in inputs.items()}
    waves = [speech[5_000 : 5_000 + samples] for samples in _PIPELINE_SAMPLES]
    enhanced = [model.pipeline()(wave).numpy() for wave in waves]
    for artifact in open_artifacts(bundle, ("core", "pipeline"), backends):
        session, entry = artifact.session, artifact.session.entry
        if entry.role == "core":
            for name, given in inputs.items():
                if entry.engine and not entry.engine.profile.includes(tuple(given.shape)):
                    continue
                output = session.run(given.contiguous().numpy())
                yield compare(artifact.label, f"live.core.{name}", outputs[name], output, entry)
        denoiser = Denoiser(bundle.manifest, session, finite=False)
        for wave, expected in zip(waves, enhanced, strict=True):
            case = f"live.pipeline.{len(wave)}-samples"
            yield compare(artifact.label, case, expected, denoiser(wave.numpy()), entry)


@torch.inference_mode()
def _check_streaming(
    bundle: Bundle, forms: StreamingForms, backends: tuple[str, ...]
) -> Iterator[ParityResult]:
    """Streaming cores over a whole utterance, and over a batch of streams."""
    model = forms.model
    speech = torch.from_numpy(read_speech(model.sample_rate))
    stft = model.spec.stft
    hops = stft.frames(len(speech)) if stft else len(speech) // model.processing.padding.size
    for streamed in open_streamed(bundle, backends):
        for name, given in core_inputs(model, speech, (hops,), _BATCH).items():
            expected = forms.reference(streamed.info.lookahead, given)
            output = streamed(given.contiguous().numpy())
            case = f"live.streaming.{name}"
            yield compare(streamed.label, case, expected.numpy(), output, streamed.entry)


@torch.inference_mode()
def _check_levels(
    bundle: Bundle, model: LoadedModel, backends: tuple[str, ...]
) -> Iterator[ParityResult]:
    """Pipelines that compute in less than float32, on quiet and loud speech."""
    enhanced: dict[int, Float32Array] = {}
    lower = tuple(entry for entry in bundle.manifest.files if entry.precision != "fp32")
    subject = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, files=lower))
    for artifact in open_artifacts(subject, ("core",), backends):
        entry = artifact.session.entry
        denoiser = Denoiser(bundle.manifest, artifact.session, finite=False)
        for level, wave in _at_levels(model.sample_rate).items():
            if level not in enhanced:
                enhanced[level] = model.pipeline()(torch.from_numpy(wave)).numpy()
            case = f"live.pipeline.{level}-dBFS"
            yield compare(artifact.label, case, enhanced[level], denoiser(wave), entry)


def _check_stream_levels(
    bundle: Bundle, whole: Bundle, backends: tuple[str, ...]
) -> Iterator[ParityResult]:
    """Streams in less than float32, with their causal level, against the float32 core's streams.

    (That one is compared with the network itself.)
    """
    files = bundle.manifest.files
    lower = tuple(e for e in files if e.role == "core_streaming" and e.precision != "fp32")
    if not lower:
        return
    session = open_stream_entry(whole, streaming_entry(whole), "onnxruntime-cpu")
    waves = _at_levels(bundle.manifest.sample_rate)
    expected = {level: _stream(whole, session, wave) for level, wave in waves.items()}
    subject = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, files=lower))
    for streamed in open_streamed(subject, backends):
        for level, wave in waves.items():
            output = _stream(whole, streamed.session, wave)
            case = f"live.stream.{level}-dBFS"
            yield compare(streamed.label, case, expected[level], output, streamed.entry)


def _stream(bundle: Bundle, session: StreamSession, wave: Float32Array) -> Float32Array:
    session.reset()
    denoiser = StreamingDenoiser(network_of(bundle, session))
    return np.concatenate([denoiser.process(wave), denoiser.flush()])


def _at_levels(sample_rate: int) -> dict[int, Float32Array]:
    """A second of speech [N] by its peak in dB of full scale."""
    speech = read_speech(sample_rate)[5_000 : 5_000 + _LEVEL_SAMPLES]
    peak = np.abs(speech).max()
    return {level: (speech * (10 ** (level / 20) / peak)) for level in _LEVELS_DBFS}
