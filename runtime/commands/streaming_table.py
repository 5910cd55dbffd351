"""What `frcrn-export inspect` says of streaming cores: how they are called, and their states."""

from math import prod
from typing import TYPE_CHECKING

from frcrn_export.runtime.commands.console import print_table

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest, StreamingInfo

_BYTES = {"float32": 4, "uint8": 1}


def calls_a_second(manifest: "Manifest", entry: "FileEntry") -> float:
    """How often a streaming core is called; other files take a second of audio at once."""
    if entry.streaming is None:
        return 1.0
    return manifest.sample_rate / (entry.streaming.chunk * _samples_each(manifest))


def print_streaming(manifest: "Manifest") -> None:
    """For the streaming cores that are called alike, a table of calls and one of their states."""
    unit = "frames" if manifest.stft else "samples"
    milliseconds = _samples_each(manifest) / manifest.sample_rate * 1e3
    paths: dict[StreamingInfo, list[str]] = {}
    for entry in manifest.files:
        if entry.streaming is not None:
            paths.setdefault(entry.streaming, []).append(entry.path)
    for streaming, names in paths.items():
        size = sum(prod(state.row_shape) * _BYTES[state.dtype] for state in streaming.states)
        facts = [
            (name, f"{count} {unit}, {count * milliseconds:g} ms")
            for name, count in (("chunk", streaming.chunk), ("look-ahead", streaming.lookahead))
        ]
        facts += [("input that tells the end", streaming.end or "none")]
        facts += [("states of a stream", f"{size / 1e3:.1f} kB")]
        print_table(("What", "Value"), facts, title=f"{', '.join(names)}: each call")
        print_table(
            ("State", "Next", "Type", "Shape", ">At first"),
            (
                (
                    state.name,
                    state.next,
                    state.dtype,
                    f"[{', '.join(map(str, state.shape))}]",
                    f"{state.initial:g}",
                )
                for state in streaming.states
            ),
        )


def _samples_each(manifest: "Manifest") -> int:
    """Samples of what chunks are counted in: a frame, or a sample."""
    return manifest.stft.hop_length if manifest.stft else 1
