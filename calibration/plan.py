"""The plan of a calibration: settings, graph, recordings, layers and their ranges."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.calibration.clips import (
    ClipSet,
    audio_sha256,
    choose_clips,
    read_audio,
)
from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.quantizers import Quantizer, quantizer_for
from frcrn_export.calibration.ranges import Ranges, observe
from frcrn_export.calibration.settings import CLIPS, METHOD, MINUTES, Progress
from frcrn_export.calibration.source import (
    Source,
    find_source,
    int8_name,
    reference_model,
    with_fp16_core,
)
from frcrn_export.exporters.onnx_versions import lower_versions
from frcrn_export.runtime.audio.pairs import Pair, find_pairs
from frcrn_export.runtime.bundle.manifest import CalibrationMethod, Target
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import calibrate_command
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel


@dataclass(frozen=True)
class Settings:
    """Settings of a calibration. `pairs`: for evaluation; None is the packaged recording.

    `auto`: if a quality gate fails, let layers fall back to float, after measuring their
    sensitivity for at most `minutes`. `allow_slower`: keep a file that is no faster than float.
    `precision`: INT8, or for TensorRT FP8.
    """

    target: Target
    folders: tuple[Path, ...]
    streaming: bool = False
    pairs: Path | None = None
    method: CalibrationMethod = METHOD
    count: int = CLIPS
    seed: int = 0
    auto: bool = False
    minutes: float = MINUTES
    allow_slower: bool = False
    threads: int | None = None
    precision: QuantizedPrecision = "int8"

    def command(self, root: Path, *, checkpoint: Path | None = None, force: bool = False) -> str:
        """The command that calibrates so, as far as its options decide what comes out."""
        options = [
            f"--{name} {value}"
            for name, value, default in (
                ("method", self.method, METHOD),
                ("clips", self.count, CLIPS),
                ("seed", self.seed, 0),
            )
            if value != default
        ]
        for name, path in (("pairs", self.pairs), ("checkpoint", checkpoint)):
            options += [f"--{name} {quoted(path)}"] * (path is not None)
        options += ["--auto"] * self.auto + ["--force"] * force
        return calibrate_command(
            root,
            self.target,
            self.precision,
            streaming=self.streaming,
            folders=self.folders,
            options=" ".join(options),
        )


@dataclass(frozen=True)
class Plan:
    """All that is known before quantization. `pairs` are for evaluation."""

    bundle: Bundle
    settings: Settings
    pairs: Sequence[Pair]
    source: Source
    clips: ClipSet
    quantizer: Quantizer
    ranges: Ranges

    @property
    def file(self) -> str:
        """The name of the quantized file."""
        settings = self.settings
        return int8_name(settings.target, settings.streaming, settings.precision)

    def quantized(self, names: Collection[str]) -> bytes:
        """The graph with the candidates of these names in INT8 or FP8, as an ONNX file."""
        content: bytes = self.quantizer.quantize(names, self.ranges).SerializeToString()
        return content

    def written(self, names: Collection[str]) -> bytes:
        """The same in the lowest opset that it needs, as it goes into the bundle."""
        model = self.quantizer.quantize(names, self.ranges)
        lower_versions(model, self.file)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def make_plan(
    bundle: Bundle,
    settings: Settings,
    checkpoint: Path | None,
    progress: Progress,
    *,
    force: bool = False,
) -> Plan:
    """Choose the recordings, find the graph and measure the ranges; raises as `calibrate`.

    `force`: whether a file that is there will be replaced.
    """
    pairs = find_pairs(settings.pairs) if settings.pairs else [_packaged_pair()]
    clips = _choose(bundle, settings, pairs, progress)

    def load(what: str) -> "LoadedModel":
        progress(f"exporting {what}", 0, 1)
        command = settings.command(bundle.path, force=force)
        command += " --allow-slower" * settings.allow_slower
        return reference_model(bundle, checkpoint, what, command)

    if settings.target == "tensorrt":
        load_fp16 = partial(load, "the float16 core")
        bundle = with_fp16_core(bundle, settings.streaming, load_fp16, progress)
    own_form = partial(load, "INT8 for processors")
    source = find_source(bundle, settings.target, settings.streaming, own_form)
    quantizer = quantizer_for(source.model, settings.target, settings.method, settings.precision)
    if not quantizer.candidates:
        raise UserError(
            f"{bundle.path}: {source.float32.path} has no layer that {settings.precision.upper()} "
            f"could be faster in; run it as it is: {_as_it_is(bundle, settings)}"
        )
    ranges = observe(
        source.model,
        quantizer.observed,
        bundle.manifest,
        source.entry,
        clips,
        threads=settings.threads,
        progress=lambda done, total: progress("measuring ranges", done, total),
    )
    return Plan(bundle, settings, pairs, source, clips, quantizer, ranges)


def _as_it_is(bundle: Bundle, settings: Settings) -> str:
    """The command that uses a bundle whose layers are too small to quantize."""
    if settings.target == "tensorrt":
        streaming = " --streaming" * settings.streaming
        return f"frcrn-export trt {quoted(bundle.path)} --fp16{streaming}"
    stream = " --stream" * settings.streaming
    return f"frcrn-export denoise {quoted(bundle.path)} noisy.wav{stream} -o clean.wav"


def _choose(
    bundle: Bundle, settings: Settings, pairs: Sequence[Pair], progress: Progress
) -> ClipSet:
    """The calibration clips, none of which is a recording of `pairs`."""
    progress("reading the recordings", 0, 1)
    rate = bundle.manifest.sample_rate
    files = [path for pair in pairs for path in (pair.noisy, pair.clean)]
    refused = {audio_sha256(read_audio(path, rate)): path for path in files}
    return choose_clips(
        settings.folders, rate, count=settings.count, seed=settings.seed, refused=refused
    )


def _packaged_pair() -> Pair:
    from frcrn_export.exporters.assets import DEMO_CLEAN, DEMO_NOISY

    return Pair("demo", DEMO_NOISY, DEMO_CLEAN)
