"""From a bundle with a float core to one with an INT8 core that passed its gates."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from frcrn_export.calibration.int8.clips import (
    DEFAULT_COUNT,
    ClipSet,
    audio_sha256,
    choose_clips,
    read_audio,
)
from frcrn_export.calibration.int8.gates import failures, passed, quality_gates, speed_gate
from frcrn_export.calibration.int8.layers import Layer, quantizable
from frcrn_export.calibration.int8.pictures import require_matplotlib
from frcrn_export.calibration.int8.qdq import quantize, quantized_tensors
from frcrn_export.calibration.int8.ranges import Ranges, observe
from frcrn_export.calibration.int8.report import (
    LayerRow,
    Report,
    SearchPoint,
    TensorRange,
    WorstClip,
    report_name,
    write_report,
)
from frcrn_export.calibration.int8.scores import METRICS, Judge, Quality, judging
from frcrn_export.calibration.int8.search import Search, find_layers
from frcrn_export.calibration.int8.source import Source, find_source, int8_name, live_model
from frcrn_export.calibration.int8.speed import Speed, measure_speed
from frcrn_export.calibration.int8.thresholds import value_range
from frcrn_export.calibration.int8.work import multiplications
from frcrn_export.calibration.pairs import Pair, find_pairs
from frcrn_export.calibration.scoring import require_packages
from frcrn_export.runtime.bundle import Bundle, open_bundle, sha256_of
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.hints import calibrate_command
from frcrn_export.runtime.manifest import (
    MANIFEST_NAME,
    CalibrationMethod,
    Consumer,
    FileEntry,
    GateResult,
    QuantizationInfo,
)
from frcrn_export.runtime.staging import staged_bundle

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel

Progress = Callable[[str, int, int], None]

DEFAULT_METHOD: CalibrationMethod = "mse"
DEFAULT_MINUTES = 20.0
_DAMAGE_PAIRS = 2  # the shortest ones: a layer alone is heard on little audio


@dataclass(frozen=True)
class Settings:
    """How to calibrate. `pairs`: what the gates are measured on; None is the packaged recording.

    `auto`: where the gates of quality fail, give layers back to float, measuring their damage for
    at most `minutes`. `allow_slower`: keep a file that is no faster than float.
    """

    consumer: Consumer
    folders: tuple[Path, ...]
    streaming: bool = False
    pairs: Path | None = None
    method: CalibrationMethod = DEFAULT_METHOD
    count: int = DEFAULT_COUNT
    seed: int = 0
    auto: bool = False
    minutes: float = DEFAULT_MINUTES
    allow_slower: bool = False
    threads: int | None = None


def calibrate_bundle(
    path: Path,
    *,
    consumer: Consumer,
    folders: Sequence[Path],
    streaming: bool = False,
    progress: Progress = lambda phase, done, steps: None,
) -> Report:
    """Calibrate with the defaults; see `calibrate`."""
    settings = Settings(consumer, tuple(folders), streaming)
    return calibrate(path, settings, progress=progress)


def calibrate(
    path: Path,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    force: bool = False,
    progress: Progress = lambda phase, done, steps: None,
) -> Report:
    """Add an INT8 core and its report to a bundle, if it passes its gates.

    `checkpoint`: the weights, where the network itself is needed and the bundle does not say where
    they are. Raises CheckFailed where a gate fails, the bundle being as before; UserError where the
    bundle has no float core or has such a file already (unless `force`), for calibration folders
    that hold nothing usable, or one of the clips that judge; and as `live_model`.
    """
    require_matplotlib()
    require_packages(METRICS)
    bundle = open_bundle(path, int8=not force)  # what is replaced may be broken
    name = int8_name(settings.consumer, settings.streaming)
    if any(entry.path == name for entry in bundle.manifest.files) and not force:
        raise UserError(f"{path / name} exists; add --force to replace it")
    pairs = find_pairs(settings.pairs) if settings.pairs else [_packaged_pair()]
    clips = _choose(bundle, settings, pairs, progress)

    def load() -> "LoadedModel":
        progress("exporting the form for INT8", 0, 1)
        return live_model(bundle, checkpoint)

    source = find_source(bundle, settings.consumer, settings.streaming, load)
    layers = quantizable(source.model, settings.consumer)
    names = [layer.name for layer in layers]
    if not names:
        raise UserError(f"{path}: {source.float32.path} has no layer that INT8 could be faster in")
    ranges = observe(
        source.model,
        quantized_tensors(source.model, names, settings.consumer),
        bundle.manifest,
        source.entry,
        clips,
        threads=settings.threads,
        progress=lambda done, total: progress("measuring ranges", done, total),
    )
    return _Calibration(bundle, settings, source, clips, layers, ranges, progress).run(pairs)


@dataclass(frozen=True)
class _Calibration:
    """What is known once the ranges are measured; `run` makes the file and judges it."""

    bundle: Bundle
    settings: Settings
    source: Source
    clips: ClipSet
    layers: Sequence[Layer]
    ranges: Ranges
    progress: Progress

    def run(self, pairs: Sequence[Pair]) -> Report:
        settings, bundle = self.settings, self.bundle
        with judging(
            bundle,
            self.source.float32,
            pairs,
            called=self.source.entry,
            threads=settings.threads,
            progress=self.progress,
        ) as judge:
            search = self._search(judge, pairs)
            content = self.quantized(search.layers)
            qualities = {"fp32": judge.float32, **self._half(judge), "int8": search.quality}
            speed = self._speed(judge, content)
            gates = (*self._quality_gates(judge, search.quality), speed_gate(speed))
            report = self._report(judge, search, qualities, speed, gates)
            slow_only = passed(gates[:-1]) and not passed(gates)
            if not passed(gates) and not (slow_only and settings.allow_slower):
                command = (
                    calibrate_command(bundle.path, settings.consumer, streaming=settings.streaming)
                    + " --auto" * settings.auto
                )
                raise CheckFailed("; ".join(failures(gates, report.file, command)))
            worst = search.quality.worst.name
            recording = next(clip for clip in judge.clips if clip.pair.name == worst)
            picture = WorstClip(
                worst,
                recording.noisy,
                judge.denoise(worst),
                judge.denoise(worst, content),
                bundle.manifest.sample_rate,
            )
        self._add(content, report, picture)
        return report

    def quantized(self, layers: Collection[str]) -> bytes:
        """The graph with these layers in INT8."""
        settings = self.settings
        model = quantize(self.source.model, layers, self.ranges, settings.consumer, settings.method)
        content: bytes = model.SerializeToString()
        return content

    def _quality_gates(self, judge: Judge, quality: Quality) -> tuple[GateResult, ...]:
        return quality_gates(judge.float32, quality, self.bundle.manifest.weights)

    def _search(self, judge: Judge, pairs: Sequence[Pair]) -> Search:
        return find_layers(
            self.layers,
            self.quantized,
            judge,
            lambda quality: self._quality_gates(judge, quality),
            auto=self.settings.auto,
            damage_judge=lambda: judging(
                self.bundle,
                self.source.float32,
                sorted(pairs, key=lambda pair: pair.noisy.stat().st_size)[:_DAMAGE_PAIRS],
                called=self.source.entry,
                threads=self.settings.threads,
                metrics=(),
            ),
            seconds=60.0 * self.settings.minutes,
            progress=self.progress,
        )

    def _half(self, judge: Judge) -> dict[str, Quality]:
        """The quality of the bundle's float16 file, where there is one that is called alike."""
        half = self.bundle.manifest.file(self.source.float32.role, "onnx", "fp16")
        if half is None or half.call_inputs != self.source.entry.call_inputs:
            return {}
        return {"fp16": judge(self.bundle.file(half), progress=self.progress)}

    def _speed(self, judge: Judge, content: bytes) -> Speed | None:
        if self.settings.consumer != "cpu":
            return None
        self.progress("timing", 0, 1)
        longest = max(judge.clips, key=lambda clip: len(clip.noisy))
        return measure_speed(
            self.bundle,
            self.source.float32,
            content,
            longest.noisy,
            called=self.source.entry,
            threads=self.settings.threads,
        )

    def _report(
        self,
        judge: Judge,
        search: Search,
        qualities: dict[str, Quality],
        speed: Speed | None,
        gates: tuple[GateResult, ...],
    ) -> Report:
        settings = self.settings
        work = multiplications(self.source.model)
        total = sum(work.values())
        file = int8_name(settings.consumer, settings.streaming)
        shares = {layer.name: layer.multiplications / total for layer in self.layers}
        share = sum(shares[name] for name in search.layers)
        return Report(
            file=file,
            model=self.bundle.manifest.model,
            weights=self.bundle.manifest.weights,
            quantization=QuantizationInfo(
                consumer=settings.consumer,
                method=settings.method,
                clips=len(self.clips.clips),
                clips_sha256=self.clips.sha256,
                seed=settings.seed,
                layers=len(search.layers),
                candidates=len(self.layers),
                share=share,
                gates=gates,
                kept_slower=gates[-1].passed is False,
                report=report_name(file),
            ),
            noisy=judge.noisy,
            qualities=qualities,
            speed=speed,
            layers=[
                LayerRow(
                    layer.name,
                    layer.name in search.layers,
                    shares[layer.name],
                    search.damages.get(layer.name),
                    "" if layer.name in search.layers else "given back by the search",
                )
                for layer in self.layers
            ],
            ranges=self._tensor_ranges(search.layers),
            search=[
                SearchPoint(
                    sum(shares[name] for name in point.layers),
                    point.quality.mean_core_snr_db,
                    point.quality.drop(judge.float32, "pesq"),
                    point.passed,
                    point.layers == search.layers,
                )
                for point in search.points
            ],
            warnings=self.clips.warnings,
        )

    def _tensor_ranges(self, layers: Collection[str]) -> list[TensorRange]:
        settings = self.settings
        symmetric = settings.consumer == "tensorrt"
        return [
            TensorRange(
                tensor,
                self.ranges[tensor].low,
                self.ranges[tensor].high,
                *value_range(self.ranges[tensor], settings.method, symmetric),
            )
            for tensor in quantized_tensors(self.source.model, layers, settings.consumer)
        ]

    def _add(self, content: bytes, report: Report, worst: WorstClip) -> None:
        """Write the file and its report into the bundle."""
        bundle = self.bundle
        with staged_bundle(bundle.path, force=True, keep=True) as folder:
            path = folder / report.file
            path.write_bytes(content)
            entry = FileEntry(
                path=report.file,
                role=self.source.float32.role,
                format="onnx",
                precision="int8",
                sha256=sha256_of(path),
                bytes=len(content),
                inputs=self.source.entry.inputs,
                outputs=self.source.entry.outputs,
                streaming=self.source.entry.streaming,
                quantization=report.quantization,
            )
            added = (entry, *write_report(folder, report, worst))
            paths = {each.path for each in added}
            others = (each for each in bundle.manifest.files if each.path not in paths)
            manifest = msgspec.structs.replace(
                bundle.manifest,
                files=(*others, *added),
                parity=tuple(r for r in bundle.manifest.parity if r.artifact != report.file),
            )
            (folder / MANIFEST_NAME).write_bytes(manifest.to_json())


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
    from frcrn_export.exporters.packaged import DEMO_CLEAN, DEMO_NOISY

    return Pair("demo", DEMO_NOISY, DEMO_CLEAN)
