"""The readers of files from outside."""

import shutil
from pathlib import Path

from tests.fuzz.bundle_readers import (
    graphs,
    manifests,
    read_graph,
    read_manifest,
    read_report,
    read_vectors,
    reports,
    vectors,
)
from tests.fuzz.checkpoint_readers import (
    change_safetensors,
    change_yaml,
    checkpoints,
    configurations,
    read_checkpoint,
    read_configuration,
)
from tests.fuzz.json_mutations import JSON
from tests.fuzz.mutations import BYTES
from tests.fuzz.protobuf_mutations import PROTOBUF
from tests.fuzz.reader import Reader
from tests.fuzz.result_readers import read_results, results
from tests.fuzz.sound_readers import change_chunks, pipes, read_pipe, read_recording, recordings
from tests.fuzz.zip_mutations import ZIP, bomb, change_header, change_pickle, code

READERS = {
    "manifest": Reader(manifests, (*BYTES, *JSON * 4), read_manifest),
    "onnx": Reader(graphs, (*BYTES, *PROTOBUF * 2), read_graph),
    "npz": Reader(vectors, (*BYTES, *ZIP, change_header, bomb, code), read_vectors),
    "checkpoint": Reader(
        checkpoints,
        (*BYTES, *ZIP, change_pickle, change_pickle, change_safetensors, bomb, code),
        read_checkpoint,
    ),
    "configuration": Reader(
        configurations, (*BYTES, *JSON, change_yaml, change_yaml), read_configuration
    ),
    "audio": Reader(recordings, (*BYTES, change_chunks), read_recording),
    "pipe": Reader(pipes, (*BYTES, change_chunks), read_pipe),
    "layers": Reader(reports, (*BYTES, *JSON * 2), read_report),
    "result": Reader(results, (*BYTES, *JSON * 4), read_results),
}


def remove_outputs(folder: Path) -> None:
    """What a command wrote, between two inputs."""
    for path in (folder / "o.wav", folder / "given.wav", folder / "weights.pth"):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
