"""Parity vectors: inputs and the reference's outputs, the content of `parity.npz`.

Real speech, at lengths that were not traced, single and in batches, quiet and loud. Names are
`stage.case.input` and `stage.case.output`, see docs/bundle.md; `frcrn_export.runtime.verify.parity`
reads them.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.graphs import StaticShape
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.reference import level_gain
from frcrn_export.exporters.reference_high_pass import filtered_recording, filtered_stream
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.exporters.stream_vectors import stream_vectors
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import HighPass
from frcrn_export.runtime.bundle.npz import write_arrays
from frcrn_export.runtime.verify.parity import LOUD

Vectors = dict[str, Float32Array]

# Of a streaming core, at least.
_STREAMED_FRAMES, _STREAMED_CALLS = 101, 36
# What files in lower precision should hold, times speech of full scale. The level rules let in
# speech of full scale at most; for a moment after a whisper a stream would let in a hundred times
# that, and is clipped.
_LOUD = (1, 3, 10)
_LOUD_FRAMES = 24
_QUIET = 10 ** (-30 / 20)
_RUMBLE_SECONDS, _RUMBLE_HZ, _RUMBLE, _OFFSET = 0.5, 7.0, 0.2, 0.1


def parity_npz(forms: StreamingForms) -> bytes:
    """The parity vectors as a file, those of the streaming core included."""
    return write_arrays(parity_vectors(forms))


@torch.inference_mode()
def parity_vectors(forms: StreamingForms) -> Vectors:
    """Inputs and reference outputs of every stage of a model."""
    model = forms.model
    speech = torch.from_numpy(read_speech(model.sample_rate))
    vectors: Vectors = {}

    def record(stage: str, case: str, given: Tensor, expected: Tensor) -> None:
        vectors[f"{stage}.{case}.input"] = given.contiguous().numpy()
        vectors[f"{stage}.{case}.output"] = expected.contiguous().numpy()

    for case, given in core_inputs(model, speech, (7, 49), batch=2).items():
        record("core", case, given, model.network(given))
    for case, given in _loud_inputs(model, speech, _LOUD_FRAMES).items():
        record("core", case, given, model.network(given))
    for extra in model.family.extra_cores(model.spec, model.network):
        for case, given in core_inputs(model, speech, extra.parity_frames, batch=1).items():
            record(extra.role, case, given, model.network(given))
    if forms.static is not None:
        given = static_input(model, speech, forms.static)
        record(
            "core_static",
            f"{forms.static.length}-by-{forms.static.batch}",
            given,
            model.network(given),
        )
    if forms.options is not None:
        streaming = forms.core()
        frames = _frames_to_stream(model, streaming.chunk)
        for case, given in core_inputs(model, speech, (frames,), batch=2).items():
            record("streaming", case, given, forms.reference(streaming, given))
        for case, given in _loud_inputs(model, speech, frames // 2).items():
            record("streaming", case, given, forms.reference(streaming, given))
        for name, values in stream_vectors(forms, speech.numpy()).items():
            vectors[f"stream.{name}"] = values
    if (stft := model.spec.stft) is not None:
        wave = torch.stack([speech[:4321], speech[9000:13321]])
        spec = StftAnalysis(stft)(wave)
        record("pre", "two-clips", wave, spec)
        record("post", "two-clips", spec, StftSynthesis(stft)(spec))
    pipeline = model.pipeline()
    record("pipeline", "speech", speech, pipeline(speech))
    record("pipeline", "short-quiet", speech[:7001] * _QUIET, pipeline(speech[:7001] * _QUIET))
    record("levelled", "speech", speech, pipeline(speech, restore_level=False))
    if (high_pass := model.processing.high_pass) is not None:
        for name, values in _high_pass_vectors(speech.numpy(), high_pass, model.sample_rate):
            vectors[f"high_pass.{name}"] = values
    return vectors


def _high_pass_vectors(
    speech: Float32Array, spec: HighPass, sample_rate: int
) -> Iterator[tuple[str, Float32Array]]:
    """Speech on an offset, with a rumble, filtered as a recording and as a stream."""
    count = int(_RUMBLE_SECONDS * sample_rate)
    times = np.arange(count) / sample_rate
    rumble = _OFFSET + _RUMBLE * np.sin(2 * np.pi * _RUMBLE_HZ * times)
    given = (np.resize(speech, count) + rumble).astype(np.float32)
    yield "recording.input", given
    yield "recording.output", filtered_recording(given, spec.cutoff_hz, sample_rate)
    yield "stream.input", given
    yield "stream.output", filtered_stream(given, spec.streaming_cutoff_hz, sample_rate)


def static_input(model: LoadedModel, speech: Tensor, shape: StaticShape) -> Tensor:
    """An input of exactly this shape, cut from a clip [N]."""
    levelled = speech * level_gain(speech, model.processing.level, 1e-6)
    stft = model.spec.stft
    if stft is None:
        return _clips(levelled, shape.length, shape.batch)[:, None]
    samples = max(stft.samples(shape.length), stft.shortest)
    spec: Tensor = StftAnalysis(stft)(_clips(levelled, samples, shape.batch))
    return spec[..., : shape.length]


def _frames_to_stream(model: LoadedModel, chunk: int) -> int:
    """Enough frames for dozens of calls, the last of them partial where possible."""
    return max(_STREAMED_FRAMES, _STREAMED_CALLS * chunk // model.frame_length + 1)


def _loud_inputs(model: LoadedModel, speech: Tensor, frames: int) -> dict[str, Tensor]:
    """Core inputs, batch 1, of `frames` frames of speech of full scale and beyond."""
    return {
        f"{LOUD}-{factor}": _input(model, factor / speech.abs().max() * speech, frames)
        for factor in _LOUD
    }


def _input(model: LoadedModel, wave: Tensor, frames: int) -> Tensor:
    """The middle of a clip [N] as a core input."""
    fixed, stft = model.processing.core_samples, model.spec.stft
    if fixed is not None:
        return _clips(wave, fixed, 1)[:, None]
    if stft is None:
        return _clips(wave, frames * model.processing.padding.size, 1)[:, None]
    samples = max(stft.samples(frames), stft.shortest)
    spec: Tensor = StftAnalysis(stft)(_clips(wave, samples, 1))
    return spec[..., :frames]


def core_inputs(
    model: LoadedModel, speech: Tensor, hops: tuple[int, ...], batch: int
) -> dict[str, Tensor]:
    """Core inputs cut from a clip [N] at the level the network expects.

    One of each length (in frames, or in hops of a time-domain network), and one batch of clips.
    """
    levelled = speech * level_gain(speech, model.processing.level, 1e-6)
    fixed = model.processing.core_samples
    if fixed is not None:
        return {
            f"{fixed}-samples": levelled[None, None, :fixed],
            f"{fixed}-samples-batch-{batch}": _clips(levelled, fixed, batch)[:, None],
        }
    stft = model.spec.stft
    cases = {}
    for count, length in [(1, hop) for hop in hops] + [(batch, max(hops) // 2)]:
        name = f"{length}-frames" + (f"-batch-{count}" if count > 1 else "")
        if stft is None:
            samples = length * model.processing.padding.size
            cases[name] = _clips(levelled, samples, count)[:, None]
        else:
            samples = max(stft.samples(length), stft.shortest)
            spec = StftAnalysis(stft)(_clips(levelled, samples, count))
            cases[name] = spec[..., :length]
    return cases


def _clips(wave: Tensor, samples: int, count: int) -> Tensor:
    """`count` different excerpts of a clip, [count, samples]; a short clip is repeated."""
    repeats = -(-2 * samples // len(wave)) + 1
    source = wave.repeat(repeats)
    shift = len(wave) // (count + 1)
    return torch.stack([source[i * shift : i * shift + samples] for i in range(count)])
