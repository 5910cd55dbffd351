"""Every core of a bundle against the reference network, at lengths that were not traced."""

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import torch

from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.float16.session import ROUNDED, rounded_session
from frcrn_export.exporters.hard_sound import JUMP, LEVELS, allowance_db, hard_waves
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.parity_vectors import core_inputs
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry, ParityResult, Role
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.network import network_of
from frcrn_export.runtime.streaming.onnx_session import OnnxStreamSession
from frcrn_export.runtime.streaming.session import (
    StreamSession,
    open_stream_entry,
)
from frcrn_export.runtime.verify.parity import compare, open_artifacts
from frcrn_export.runtime.verify.streaming_parity import open_streamed

_HOPS = (2, 31, 64)
_BATCH = 3
_PIPELINE_SAMPLES = (1_000, 20_001)
# Sound with which float16 files are also compared with every value rounded.
_ROUNDED = (*LEVELS, JUMP)


def check_reference(
    bundle: Bundle,
    forms: StreamingForms,
    backends: tuple[str, ...] = (),
    whole: Bundle | None = None,
) -> Iterator[ParityResult]:
    """Compare every core and every pipeline of a bundle with its model.

    `whole` is the bundle with all its files, where `bundle` has only the added ones.
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
                yield compare(
                    artifact.label, f"reference.core.{name}", outputs[name], output, entry
                )
        denoiser = Denoiser(bundle.manifest.with_high_pass(False), session, finite=False)
        for wave, expected in zip(waves, enhanced, strict=True):
            case = f"reference.pipeline.{len(wave)}-samples"
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
            expected = forms.reference(streamed.info, given)
            output = streamed(given.contiguous().numpy())
            case = f"reference.streaming.{name}"
            yield compare(streamed.label, case, expected.numpy(), output, streamed.entry)


@torch.inference_mode()
def _check_levels(
    bundle: Bundle, model: LoadedModel, backends: tuple[str, ...]
) -> Iterator[ParityResult]:
    """Pipelines in lower precision than float32, on quiet, loud and abrupt sound."""
    enhanced: dict[str, Float32Array] = {}
    waves = hard_waves(model.sample_rate)
    lower = tuple(entry for entry in bundle.manifest.files if entry.precision != "fp32")
    lowered = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, files=lower))
    for artifact in open_artifacts(lowered, ("core",), backends):
        entry = artifact.session.entry
        denoiser = Denoiser(bundle.manifest.with_high_pass(False), artifact.session, finite=False)
        for name, wave in waves.items():
            if name not in enhanced:
                enhanced[name] = model.pipeline()(torch.from_numpy(wave)).numpy()
            case = f"reference.pipeline.{name}"
            exact, allowed = enhanced[name], allowance_db(name, entry.precision)
            yield compare(artifact.label, case, exact, denoiser(wave), entry, allowed)
    for entry in _to_round(lowered, "core", backends):
        session = rounded_session(bundle, entry)
        denoiser = Denoiser(bundle.manifest.with_high_pass(False), session, finite=False)
        for name in _ROUNDED:
            case = f"reference.rounded.{name}"
            yield compare(entry.path, case, enhanced[name], denoiser(waves[name]), entry)


def _check_stream_levels(
    bundle: Bundle, whole: Bundle, backends: tuple[str, ...]
) -> Iterator[ParityResult]:
    """Streams in lower precision, with their causal level, against the float32 core's streams.

    (The float32 core is compared with the network itself, and may have been left out of a pack.)
    Both get what the lower precision takes.
    """
    files = bundle.manifest.files
    lower = tuple(e for e in files if e.role == "core_streaming" and e.precision != "fp32")
    exact_core = whole.manifest.file("core_streaming", "onnx")
    if not lower or exact_core is None:
        return
    waves = hard_waves(bundle.manifest.sample_rate)
    expected: dict[tuple[str, float | None], Float32Array] = {}
    lowered = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, files=lower))
    for streamed in open_streamed(lowered, backends):
        entry, limit = streamed.entry, streamed.entry.input_limit
        if (JUMP, limit) not in expected:
            float32 = msgspec.structs.replace(exact_core, input_limit=limit)
            session = open_stream_entry(whole, float32, "onnxruntime-cpu")
            for name, wave in waves.items():
                expected[name, limit] = _stream(whole, session, wave)
        for name, wave in waves.items():
            output = _stream(whole, streamed.session, wave)
            case, exact = f"reference.stream.{name}", expected[name, limit]
            allowed = allowance_db(name, entry.precision)
            yield compare(streamed.label, case, exact, output, entry, allowed)
    for entry in _to_round(lowered, "core_streaming", backends):
        rounded = OnnxStreamSession(rounded_session(bundle, entry))
        for name in _ROUNDED:
            output = _stream(whole, rounded, waves[name])
            exact = expected[name, entry.input_limit]
            yield compare(entry.path, f"reference.rounded.{name}", exact, output, entry)


def _to_round(bundle: Bundle, role: Role, backends: tuple[str, ...]) -> Iterator[FileEntry]:
    """The float16 files that are also compared with every value rounded: see float16/rounding.py.

    Their own parity on a processor sees the rounding of weights alone.
    """
    if not backends or ROUNDED in backends:
        for entry in bundle.manifest.files:
            if (entry.role, entry.format, entry.precision) == (role, "onnx", "fp16"):
                yield entry


def _stream(bundle: Bundle, session: StreamSession, wave: Float32Array) -> Float32Array:
    session.reset()
    denoiser = StreamingDenoiser(network_of(bundle, session))
    return np.concatenate([denoiser.process(wave), denoiser.flush()])
