"""What a second of audio costs: the sizes of the axes, the calls of a stream, the operations."""

from collections.abc import Iterator
from dataclasses import replace

from frcrn_export.runtime.bundle.graph_cost import GraphCost, graph_cost
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import Bundle


def second_of_audio(manifest: Manifest) -> dict[str, int]:
    """Sizes of the dynamic axes for a second, rounded up to what the core takes."""
    multiple = manifest.padding.size if manifest.padding.rule == "multiple" else 1
    sizes = {"batch": 1, "samples": -(-manifest.sample_rate // multiple) * multiple}
    if manifest.stft is not None:
        sizes["frames"] = max(1, manifest.stft.frames(manifest.sample_rate))
    return sizes


def calls_a_second(manifest: Manifest, entry: FileEntry) -> float:
    """Calls of a streaming core per second of audio; 1 for other files."""
    if entry.streaming is None:
        return 1.0
    return manifest.sample_rate / (entry.streaming.chunk * samples_each(manifest))


def samples_each(manifest: Manifest) -> int:
    """Samples of audio for one frame of a streaming core; 1 where it takes samples."""
    return manifest.stft.hop_length if manifest.stft else 1


def graph_costs(bundle: Bundle) -> Iterator[tuple[FileEntry, GraphCost]]:
    """The ONNX files with what they cost for one second of audio.

    Raises BundleError for a file that is no ONNX graph.
    """
    sizes = second_of_audio(bundle.manifest)
    for entry in bundle.manifest.files:
        # The other two are the same network as the core.
        if entry.format == "onnx" and entry.role not in ("core_long", "core_static"):
            cost = graph_cost(bundle.file(entry), sizes)
            if cost.flop is not None:
                calls = calls_a_second(bundle.manifest, entry)
                cost = replace(cost, flop=round(cost.flop * calls))
            yield entry, cost
