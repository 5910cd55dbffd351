from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from frcrn_export.calibration.quality.metrics import pesq_wb, si_sdr_db
from frcrn_export.calibration.quality_scores import SNR_LIMIT_DB, evaluating
from frcrn_export.calibration.recorded_core import CallTrace, open_recorded
from frcrn_export.runtime.audio.pairs import find_pairs
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, StftSpec
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BackendError, CheckFailed
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from tests.bundles import STFT, manifest, write_bundle
from tests.int8_standins import add_int8, scaled
from tests.pairs import Signal, write_pair
from tests.streaming_bundles import Core, write_streaming_bundle


def test_a_candidate_beside_float32(
    tmp_path: Path, pairs_folder: Path, noisy: Signal, clean: Signal
) -> None:
    root = write_bundle(tmp_path / "b", manifest(level="peak"), gain=0.5)
    bundle = open_bundle(root)
    (entry,) = bundle.manifest.files
    model = scaled(onnx.load(root / "core.onnx"), 1.1).SerializeToString()
    told: list[str] = []
    with evaluating(bundle, entry, find_pairs(pairs_folder)) as evaluator:
        int8 = evaluator(model, progress=lambda phase, done, total: told.append(phase))
        same = evaluator(bundle.file(entry), scored=False)
    assert told == ["mix_one", "mix_two", "vbd_one", ""]
    assert [clip.name for clip in int8.clips] == ["mix_one", "mix_two", "vbd_one"]
    first = int8.clips[0]
    assert first.seconds == 2.0
    assert first.core_snr_db == pytest.approx(20.0, abs=1e-3)
    assert first.scores.values["pesq"] == pytest.approx(pesq_wb(clean, noisy), abs=1e-3)
    assert evaluator.noisy[0].values["si_sdr"] == pytest.approx(si_sdr_db(clean, noisy))
    assert int8.drop(evaluator.float32, "si_sdr") == pytest.approx(0, abs=1e-4)
    assert int8.mean_core_snr_db == pytest.approx(20.0, abs=1e-3)
    assert [clip.core_snr_db for clip in evaluator.float32.clips] == [None] * 3
    assert [clip.core_snr_db for clip in same.clips] == [SNR_LIMIT_DB] * 3
    assert same.clips[0].scores.values == {}
    assert same.mean("pesq") is None
    # An error of a tenth of everything, and what is allowed on these sounds.
    assert int8.abrupt_snr_db == pytest.approx(20.0 + 15.0, abs=1e-3)
    assert (same.abrupt_snr_db, evaluator.float32.abrupt_snr_db) == (None, None)


def test_other_processes_score_alike(tmp_path: Path, pairs_folder: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b"))
    (entry,) = bundle.manifest.files
    model = bundle.file(entry)
    pairs = find_pairs(pairs_folder)
    with evaluating(bundle, entry, pairs, metrics=("si_sdr",)) as here:
        quality = here(model)
    with evaluating(bundle, entry, pairs, metrics=("si_sdr",), jobs=2) as there:
        assert there(model) == quality
        assert there.float32 == here.float32


@pytest.mark.parametrize("stft", [STFT, None])
def test_streams_are_judged(tmp_path: Path, pairs_folder: Path, stft: StftSpec | None) -> None:
    core = Core("halved_end", chunk=5, lookahead=3) if stft else Core("one_pole", chunk=640)
    root = write_streaming_bundle(tmp_path / "b", core, stft, level="peak")
    bundle = open_bundle(root)
    (entry,) = bundle.manifest.files
    with evaluating(bundle, entry, find_pairs(pairs_folder), metrics=("si_sdr",)) as evaluator:
        int8 = evaluator(scaled(onnx.load(root / entry.path), 1.1).SerializeToString())
    for clip in int8.clips:
        assert clip.core_snr_db == pytest.approx(20.0, abs=0.01)
    assert evaluator.clips[0].core.shape == ((1, 2, 321, 102) if stft else (1, 1, 32_000))


def test_only_what_lies_in_a_stream_counts() -> None:
    trace = CallTrace()
    for start in range(0, 12, 3):  # 8 frames, 2 late
        frames = np.arange(start, start + 3, dtype=np.float32)[None]
        trace.add(frames, np.array([8 if start > 6 else UNKNOWN_END], np.float32), frames)
        frames[:] = -1  # a buffer that is used again
    np.testing.assert_array_equal(trace.enhanced(2), [[2, 3, 4, 5, 6, 7, 8, 9]])
    assert trace.calls == []


def test_a_recorded_stream_is_a_stream(tmp_path: Path, noisy: Signal) -> None:
    root = write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=640), None, level="peak")
    bundle = open_bundle(root)
    (entry,) = bundle.manifest.files
    recorded = open_recorded(bundle.manifest, entry, bundle.file(entry), threads=1)
    for _ in range(2):
        enhanced, trace = recorded.denoise(noisy, keep_calls=True)
        denoiser = StreamingDenoiser.open(bundle)
        expected = np.concatenate([denoiser.process(noisy), denoiser.flush()])
        np.testing.assert_array_equal(enhanced, expected)
    assert len(trace.calls) == len(trace.outputs) == len(noisy) // 640
    recorded.run(trace.calls)


def test_what_is_not_finite_is_judged_as_bad(tmp_path: Path, pairs_folder: Path) -> None:
    root = write_bundle(tmp_path / "b")
    bundle = open_bundle(root)
    (entry,) = bundle.manifest.files
    model = scaled(onnx.load(root / "core.onnx"), float("nan")).SerializeToString()
    with evaluating(bundle, entry, find_pairs(pairs_folder), metrics=("si_sdr",)) as evaluator:
        int8 = evaluator(model)
        with pytest.raises(BackendError, match="ONNX Runtime.* cannot load it"):
            evaluator(b"no model")
    assert int8.mean_core_snr_db == -SNR_LIMIT_DB
    assert len(int8.lost(evaluator.float32, "si_sdr")) == 3
    assert int8.clips[0].scores.missing["si_sdr"] == "the output is not finite"


def test_a_float32_that_is_not_finite(tmp_path: Path, pairs_folder: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b c", gain=float("nan")))
    (entry,) = bundle.manifest.files
    with (
        pytest.raises(CheckFailed, match="mix_one is not finite; run: frcrn-export verify '.*b c'"),
        evaluating(bundle, entry, find_pairs(pairs_folder)),
    ):
        pass


def test_a_core_that_gives_silence_has_no_snr(tmp_path: Path, pairs_folder: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b", gain=0.0))
    (entry,) = bundle.manifest.files
    with evaluating(bundle, entry, find_pairs(pairs_folder), metrics=("si_sdr",)) as evaluator:
        int8 = evaluator(bundle.file(entry))
    assert int8.mean_core_snr_db is None
    assert int8.worst in int8.clips
    assert evaluator.float32.mean("si_sdr") is None
    assert int8.drop(evaluator.float32, "si_sdr") is None


def test_long_recordings_are_cut_alike(tmp_path: Path, noisy: Signal, clean: Signal) -> None:
    """Float32 too is cut where INT8 has no core for long utterances."""
    root = write_bundle(tmp_path / "b", manifest(stft=STFT))
    entry = add_int8(root, lambda model: model)
    described = open_bundle(root).manifest
    long_core = msgspec.structs.replace(
        described.files[0], path=entry.path, role="core_long", above_frames=10
    )
    bundle = open_bundle(root)
    object.__setattr__(
        bundle,
        "manifest",
        msgspec.structs.replace(described, files=(described.files[0], long_core)),
    )
    write_pair(tmp_path / "pairs", "a", noisy, clean)
    pairs = find_pairs(tmp_path / "pairs")
    with evaluating(bundle, described.files[0], pairs, metrics=("si_sdr",)) as evaluator:
        int8 = evaluator(bundle.file(described.files[0]))
    assert evaluator.clips[0].core.shape[-1] % 49 == 0  # frames of windows of 1 s
    assert int8.clips[0].core_snr_db == SNR_LIMIT_DB
