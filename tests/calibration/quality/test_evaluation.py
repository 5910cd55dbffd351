import os
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soxr

from frcrn_export.calibration.quality.dnsmos import POLYNOMIALS
from frcrn_export.calibration.quality.evaluation import Choice, evaluate, measure, open_subjects
from frcrn_export.calibration.quality.metrics import segmental_snr_db, si_sdr_db
from frcrn_export.calibration.quality.scoring import Scorer, Scores, require_packages, scoring
from frcrn_export.runtime.audio.pairs import find_pairs
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import (
    AudioError,
    BackendError,
    BundleError,
    CheckFailed,
    UserError,
)
from tests.bundles import manifest, write_bundle
from tests.calibration.quality.bundles import write_precisions
from tests.calibration.quality.dnsmos_standin import write_dnsmos
from tests.pairs import RATE, Signal, write_pair
from tests.streaming_bundles import Core, write_streaming_bundle


def test_a_bundle_as_denoise_opens_it(tmp_path: Path, noisy: Signal) -> None:
    bundle = write_bundle(tmp_path / "a", manifest(level="peak"), gain=0.5)
    (subject,) = open_subjects([Choice(bundle)])
    assert subject.label == str(bundle)
    np.testing.assert_array_equal(subject.denoise(noisy), Denoiser.open(bundle)(noisy))


def test_several_are_told_apart(tmp_path: Path) -> None:
    bundle = write_precisions(tmp_path / "a")
    choices = [Choice(bundle, "onnxruntime-cpu", precision) for precision in ("fp32", "fp16")]
    one, two = open_subjects(choices)
    assert (one.label, two.label) == (f"{bundle} fp32", f"{bundle} fp16")
    assert isinstance(one.denoiser, Denoiser)
    assert isinstance(two.denoiser, Denoiser)
    assert (one.precision, two.precision) == ("fp32", "fp16")
    assert one.denoiser.session.entry.path == "core.onnx"
    assert two.denoiser.session.entry.path == "core.fp16.onnx"
    one, two = open_subjects([Choice(bundle), Choice(bundle, "onnxruntime-cpu")])
    assert (one.label, two.label) == (f"{bundle} auto", f"{bundle} onnxruntime-cpu")


def test_streams(tmp_path: Path, noisy: Signal) -> None:
    bundle = write_streaming_bundle(tmp_path / "a", Core(lookahead=1))
    for precision in (None, "fp32"):
        (subject,) = open_subjects([Choice(bundle, precision=precision, stream=True)])
        # At the very start one window alone covers a sample, and hardly.
        np.testing.assert_allclose(subject.denoise(noisy)[5:], noisy[5:], atol=1e-4)
    offline = write_bundle(tmp_path / "b")
    (subject,) = open_subjects([Choice(offline, stream=True, windowed=True)])
    np.testing.assert_allclose(subject.denoise(noisy), noisy, atol=1e-6)
    assert subject.precision == "fp32"
    with pytest.raises(BundleError, match="no streaming core"):
        open_subjects([Choice(offline, stream=True)])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(Path("a"), precision="fp16"), "no fp16 file .* for onnxruntime; run: .* --fp16"),
        (
            Choice(Path("a"), precision="fp16", stream=True),
            "no streaming fp16 file .* --fp16 --streaming",
        ),
        (Choice(Path("a"), "torchscript", "fp32"), "no fp32 file .* run: frcrn-export torchscript"),
        (Choice(Path("a"), "torchscript", "fp16"), "torchscript runs in fp32 and offline; take --"),
        (
            Choice(Path("a"), "tensorrt-rtx", precision="fp16"),
            r"trt \S+ --fp16 --backend tensorrt-",
        ),
        (Choice(Path("a"), "onnxruntme", precision="fp32"), "did you mean onnxruntime"),
        (Choice(Path("a"), "onnxruntme"), "did you mean onnxruntime"),
    ],
)
def test_what_the_bundle_has_not(tmp_path: Path, choice: Choice, message: str) -> None:
    bundle = write_bundle(tmp_path / "a")
    with pytest.raises(BackendError, match=message):
        open_subjects([Choice(bundle, choice.backend, choice.precision, choice.stream)])


def test_bundles_of_different_rates(tmp_path: Path) -> None:
    one = write_bundle(tmp_path / "a")
    two = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest(), sample_rate=48_000))
    with pytest.raises(UserError, match=r"a takes 16000 Hz and \S+b 48000; evaluate them one by"):
        open_subjects([Choice(one), Choice(two)])


def test_noisy_and_denoised_are_scored(
    pairs_folder: Path, tmp_path: Path, noisy: Signal, clean: Signal
) -> None:
    bundle = write_bundle(tmp_path / "a", gain=0.5)
    told: list[tuple[str, int, int]] = []
    scorer = Scorer(RATE, ("si_sdr", "seg_snr"))
    evaluation = measure(
        open_subjects([Choice(bundle)]),
        find_pairs(pairs_folder),
        scorer,
        progress=lambda *args: told.append(args),
    )
    assert evaluation.metrics == ("si_sdr", "seg_snr")
    first = evaluation.clips[0]
    assert (first.pair.name, first.seconds) == ("mix_one", 2.0)
    assert first.noisy.values["si_sdr"] == pytest.approx(si_sdr_db(clean, noisy))
    (denoised,) = first.denoised
    assert denoised.values["seg_snr"] == pytest.approx(segmental_snr_db(clean, 0.5 * noisy))
    assert first.gain("si_sdr", 0) == pytest.approx(0.0, abs=1e-3)
    assert first.gain("pesq", 0) is None
    (factor,) = evaluation.real_time_factors
    assert factor is not None
    assert factor > 0
    assert told[0] == ("reading mix_one", 0, 3)
    assert told[3] == ("mix_one", 0, 3)
    assert told[-1] == ("vbd_one", 3, 3)


def test_other_processes_give_the_same(pairs_folder: Path, tmp_path: Path) -> None:
    subjects = open_subjects([Choice(write_bundle(tmp_path / "a", gain=0.5))])
    scorer = Scorer(RATE, ("si_sdr", "pesq"), write_dnsmos(tmp_path / "dnsmos.onnx"))
    pairs = find_pairs(pairs_folder) * 3  # more than wait at once
    here = measure(subjects, pairs, scorer)
    there = measure(subjects, pairs, scorer, jobs=2)
    assert there.clips == here.clips
    assert there.real_time_factors == (None,)
    assert len(there.clips[0].noisy.values) == 5


def test_what_cannot_be_measured_has_a_reason(clean: Signal) -> None:
    scores = Scorer(RATE)(clean, np.zeros_like(clean))
    assert scores.missing == {"si_sdr": "silent", "pesq": "silent"}
    assert scores.values["stoi"] == 0.0


def test_a_bad_pair_is_found_before_the_work(
    pairs_folder: Path, tmp_path: Path, clean: Signal
) -> None:
    broken = np.full_like(clean, np.nan)  # which no header says
    write_pair(pairs_folder, "vbd_one", broken, clean)
    subjects = open_subjects([Choice(write_bundle(tmp_path / "a"))])
    told: list[str] = []
    with pytest.raises(AudioError, match="NaN"):
        measure(
            subjects,
            find_pairs(pairs_folder),
            Scorer(RATE),
            progress=lambda phase, done, steps: told.append(phase),
        )
    assert told == [f"reading {name}" for name in ("mix_one", "mix_two", "vbd_one")]


def test_nothing_to_measure(tmp_path: Path, clean: Signal) -> None:
    write_pair(tmp_path / "pairs", "a", clean[:100], clean[:100])
    subjects = open_subjects([Choice(write_bundle(tmp_path / "a"))])
    with pytest.raises(
        UserError, match=r"nothing could be measured \(pesq: .*; stoi: .* --metric$"
    ):
        measure(subjects, find_pairs(tmp_path / "pairs"), Scorer(RATE, ("stoi", "pesq")))


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_output_that_is_not_finite(pairs_folder: Path, tmp_path: Path, jobs: int) -> None:
    bundle = write_bundle(tmp_path / "a", gain=float("nan"))
    with pytest.raises(CheckFailed, match=rf"mix_one is not finite; run: \S+ verify {bundle}"):
        measure(open_subjects([Choice(bundle)]), find_pairs(pairs_folder), Scorer(RATE), jobs)


def test_a_process_that_is_killed(clean: Signal) -> None:
    with pytest.raises(UserError, match="killed.*--jobs 1"), scoring(_Deadly(RATE), 2) as score:
        score(clean, clean)()


class _Deadly(Scorer):
    def __call__(self, clean: Signal, estimate: Signal) -> None:  # type: ignore[override]
        os._exit(1)


class _Asking(Scorer):
    def __call__(self, clean: Signal, estimate: Signal) -> Scores:
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return Scores({"ignores interrupts": float(ignored)})


def test_interrupts_are_for_this_process(clean: Signal) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with scoring(_Asking(RATE), 2) as score:
        assert score(clean, clean)().values == {"ignores interrupts": 1.0}
    assert signal.getsignal(signal.SIGINT) is handler


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from frcrn_export.calibration.quality import scoring as module

    require_packages(["pesq", "stoi"])
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "pesq" else name)
    require_packages(["stoi", "si_sdr"])
    with pytest.raises(UserError, match=r'not installed: pesq; run: pip install "frcrn-export\['):
        require_packages(["stoi", "pesq"])


def test_dnsmos_of_a_lower_rate(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="needs 16000 Hz, the bundle is for 8000; leave out --dnsmos"
    ):
        Scorer(8_000, dnsmos=tmp_path)


def test_dnsmos_of_a_higher_rate_is_that_at_its_own(tmp_path: Path) -> None:
    dnsmos = write_dnsmos(tmp_path / "dnsmos.onnx")
    tone = np.sin(np.arange(12 * RATE) / 20, dtype=np.float32) * np.hanning(12 * RATE)
    tone = tone.astype(np.float32)
    at_48_khz = soxr.resample(tone, RATE, 48_000)
    scores = Scorer(48_000, ("stoi",), dnsmos)(at_48_khz, at_48_khz)
    expected = Scorer(RATE, ("stoi",), dnsmos)(tone, tone)
    assert scores.values.keys() == expected.values.keys() == {"stoi", *POLYNOMIALS}
    for name in POLYNOMIALS:
        assert scores.values[name] == pytest.approx(expected.values[name], abs=1e-2)


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), scoring(Scorer(RATE), 2):
        raise ZeroDivisionError


def test_the_library_function(tmp_path: Path, noisy: Signal, clean: Signal) -> None:
    bundle = write_bundle(tmp_path / "a", gain=0.5)
    pairs = tmp_path / "pairs"
    write_pair(pairs, "one", noisy, clean)
    told: list[str] = []
    result = evaluate(
        [bundle, str(bundle)],
        str(pairs),
        metrics=["si_sdr", "seg_snr"],
        progress=lambda phase, done, steps: told.append(phase),
    )
    assert told
    assert result.metrics == ("si_sdr", "seg_snr")
    assert len(result.subjects) == 2
    gain = result.gain("si_sdr")
    assert gain is not None
    assert gain.mean == pytest.approx(0, abs=1e-3)  # half of it is as good
    before, after = result.noisy("si_sdr"), result.denoised("si_sdr", 1)
    assert before is not None
    assert after is not None
    assert after.mean - before.mean == pytest.approx(gain.mean, abs=1e-6)
    assert result.gain("pesq") is None
    folders = tmp_path / "noisy", tmp_path / "clean"
    for folder, end in zip(folders, ("noisy", "clean"), strict=True):
        folder.mkdir()
        (path,) = pairs.glob(f"*.{end}.*")
        (folder / f"one{path.suffix}").write_bytes(path.read_bytes())
    again = evaluate(open_bundle(bundle), folders, metrics=["si_sdr"])
    assert again.clips[0].noisy.values == {"si_sdr": before.mean}
    with pytest.raises(UserError, match="unknown metric 'mos'; choose from: si_sdr, pesq"):
        evaluate(bundle, pairs, metrics=["mos"])
