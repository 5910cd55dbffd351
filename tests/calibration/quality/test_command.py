import csv
import errno
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export import cli
from frcrn_export.calibration.quality import command as options
from frcrn_export.calibration.quality.scoring import MEASURES
from frcrn_export.runtime.files import output as outputs
from tests.bundles import write_bundle
from tests.calibration.quality.bundles import write_precisions
from tests.calibration.quality.dnsmos_standin import write_dnsmos
from tests.pairs import RATE, Signal, write_pair
from tests.streaming_bundles import Core, write_streaming_bundle

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *args: object) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of `frcrn-export evaluate`.

    Without the lines that say what runs.
    """
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", *map(str, args)])
    shown = capsys.readouterr()
    lines = shown.err.splitlines(keepends=True)
    return (
        int(left.value.code or 0),
        shown.out,
        "".join(
            line
            for line in lines
            if not line.endswith(": gain, weights: gain (random: the output is not speech)\n")
        ),
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "half", gain=0.5)


def test_a_table_of_means(bundle: Path, pairs_folder: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, bundle, "--pairs", pairs_folder, "--jobs", 1)
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    rows = [row for row in rows if row]
    assert [row[:3] for row in rows[::4]] == [
        ["mix", "2", "SI-SDR (dB)"],
        ["vbd", "1", "SI-SDR (dB)"],
        ["all", "3", "SI-SDR (dB)"],
    ]
    titles = [row[2] for row in rows[:4]]
    assert titles == ["SI-SDR (dB)", "PESQ-WB", "STOI", "SegSNR (dB)"]
    assert "±" in rows[0][3]
    assert "±" not in rows[4][3]  # one clip has no interval
    assert float(rows[8][5].split()[0]) == 0.0  # half the level changes no SI-SDR
    assert float(rows[11][4].split()[0]) < 6.1  # but the segmental SNR
    assert "onnxruntime on cpu, real-time factor 0." in out
    assert "mix_one" not in out


def test_what_runs_is_said_once(
    bundle: Path, pairs_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["evaluate", str(bundle), "-p", str(pairs_folder), "-m", "si_sdr", "-j", "1"]
    for more in ([], ["-b", "auto", "-b", "onnxruntime-cpu"]):
        with pytest.raises(SystemExit):
            cli.main([*args, *more])
        assert (
            capsys.readouterr().err
            == f"{bundle}: gain, weights: gain (random: the output is not speech)\n"
        )
    with pytest.raises(SystemExit):
        cli.main([*args, "--json"])
    assert capsys.readouterr().err == ""


def test_json(bundle: Path, pairs_folder: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, bundle, "-p", pairs_folder, "--json", "-m", "pesq", "-j", 1)
    assert code == 0
    report = json.loads(out)
    assert report["frcrn_export"] == version("frcrn-export")
    assert report["pairs"] == [str(pairs_folder)]
    assert report["interval"] == "95 % confidence of the mean, Student's t"
    assert list(report["metrics"]) == ["pesq"]
    (found,) = report["bundles"]
    assert (found["bundle"], found["model"], found["backend"]) == (
        str(bundle),
        "gain",
        "onnxruntime",
    )
    weights = {"source": "random", "name": "gain", "sha256": None, "seed": 0}
    assert found["weights"] == {**weights, "state_dict": "", "licence": "", "attribution": ""}
    assert (found["precision"], found["stream"], found["windowed"]) == ("fp32", False, False)
    assert found["gates"] == []
    assert found["real_time_factor"] >= 0
    assert list(found["groups"]) == ["mix", "vbd", "all"]
    pesq = found["groups"]["all"]["pesq"]
    assert 1 < pesq["noisy"]["mean"] < 4.64
    assert pesq["denoised"]["clips"] == 3
    assert pesq["gain"]["margin"] >= 0
    names = [clip["name"] for clip in found["clips"]]
    assert names == ["mix_one", "mix_two", "vbd_one"]
    assert found["clips"][0]["missing"] == {"noisy": {}, "denoised": {}}
    mean = np.mean([clip["pesq"]["denoised"] for clip in found["clips"]])
    assert pesq["denoised"]["mean"] == pytest.approx(mean, abs=1e-3)


def test_files(bundle: Path, pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    table, page = tmp_path / "clips.csv", tmp_path / "page.md"
    options = ("-m", "si_sdr", "-m", "stoi", "--csv", table, "--markdown", page, "--clips")
    code, out, _ = run(capsys, bundle, "-p", pairs_folder, *options)
    assert code == 0
    assert "mix_two" in out
    assert "real-time" not in out  # measured alone only
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"] for row in rows] == ["mix_one", "mix_two", "vbd_one"]
    assert [row["group"] for row in rows] == ["mix", "mix", "vbd"]
    first = rows[0]
    assert (first["bundle"], first["backend"], first["seconds"]) == (
        str(bundle),
        "onnxruntime",
        "2.0",
    )
    gain = float(first["si_sdr"]) - float(first["si_sdr_noisy"])
    assert float(first["si_sdr_gain"]) == pytest.approx(gain, abs=2e-4)
    assert "pesq" not in first
    text = page.read_text()
    assert text.startswith(f"# Quality\n\n- {bundle}: onnxruntime on cpu\n")
    assert "| mix_one | " in text
    assert "| Group | Clips | Metric | Noisy | Denoised | Gain |\n|---|---:|---|---:|" in text
    widths = {line.count("|") for line in text.split("## Means")[1].splitlines() if line[:1] == "|"}
    assert widths == {7}


def test_two_bundles_side_by_side(
    pairs_folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("whole"), gain=1.0)
    write_bundle(Path("half"), gain=0.5)
    options = ("-p", pairs_folder, "-m", "seg_snr", "-j", 1)
    code, out, _ = run(capsys, "whole", "half", *options, "--clips")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    clips = [row[:2] for row in rows if len(row) == 4]
    assert clips[:2] == [["mix_one", "whole"], ["mix_one", "half"]]
    whole, half = [row for row in rows if len(row) == 8][-2:]
    assert (whole[0], whole[3], whole[7]) == ("all", "whole", "-")
    assert (half[0], half[3]) == ("all", "half")
    assert half[7].startswith("-")
    assert "±" in half[7]
    code, out, _ = run(capsys, "whole", "half", *options, "--json")
    found = json.loads(out)["bundles"]
    assert [entry["label"] for entry in found] == ["whole", "half"]
    means = [entry["groups"]["all"]["seg_snr"]["denoised"]["mean"] for entry in found]
    difference = float(half[7].split()[0])
    assert means[1] - means[0] == pytest.approx(difference, abs=0.01)


def test_two_precisions_side_by_side(pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    bundle = write_precisions(tmp_path / "both")
    options = ("--precision", "fp32", "--precision", "fp16", "-m", "stoi", "-j", 1, "--json")
    code, out, _ = run(capsys, bundle, "-p", pairs_folder, *options)
    assert code == 0
    found = json.loads(out)["bundles"]
    assert [entry["precision"] for entry in found] == ["fp32", "fp16"]
    assert [entry["label"] for entry in found] == [f"{bundle} fp32", f"{bundle} fp16"]


def test_streams_are_judged(pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    bundle = write_streaming_bundle(tmp_path / "stream", Core(lookahead=1))
    options = ("-p", pairs_folder, "-m", "seg_snr", "-j", 1, "--json")
    code, out, _ = run(capsys, bundle, "--stream", *options)
    assert code == 0
    (found,) = json.loads(out)["bundles"]
    assert (found["stream"], found["windowed"], found["precision"]) == (True, False, "fp32")
    assert found["groups"]["all"]["seg_snr"]["gain"]["mean"] == pytest.approx(0.0, abs=0.05)


def test_two_folders_at_another_rate(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(48_000) / 48_000)
    for name, level in (("noisy", 0.02), ("clean", 0.0)):
        noise = level * np.random.default_rng(0).standard_normal(48_000)
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.flac", tone + noise, 48_000)
    folders = ("--noisy", tmp_path / "noisy", "--clean", tmp_path / "clean")
    code, out, _ = run(capsys, bundle, *folders, "-m", "si_sdr", "--json")
    assert code == 0
    (clip,) = json.loads(out)["bundles"][0]["clips"]
    assert (clip["name"], clip["group"], clip["seconds"]) == ("a", "", 1.0)
    # A third of the noise's band is left.
    assert clip["si_sdr"]["noisy"] == pytest.approx(20.5 + 4.8, abs=1.0)


def test_what_becomes_of_clean_speech(pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    for path in pairs_folder.glob("*.noisy.wav"):
        path.unlink()
    bundle = write_bundle(tmp_path / "quieter", gain=0.7)  # its rounding is all that is left
    folders = ("--noisy", pairs_folder, "--clean", pairs_folder)
    options = ("-m", "si_sdr", "-j", 1, "--min-si-sdr")
    code, out, _ = run(capsys, bundle, *folders, *options, 100)
    assert code == 0
    assert "No SI-SDR of mix_one.clean, mix_two.clean, vbd_one.clean (noisy): the same as" in out
    assert run(capsys, bundle, *folders, *options, 500)[0] == 1


def test_the_measures_are_all_of_them() -> None:
    assert tuple(MEASURES) == options.MEASURES


def test_dnsmos(bundle: Path, pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    standin = write_dnsmos(tmp_path / "dnsmos.onnx")
    options = ("-m", "si_sdr", "--dnsmos", standin, "-j", 1)
    code, out, _ = run(capsys, bundle, "-p", pairs_folder, *options)
    assert code == 0
    assert "DNSMOS OVR" in out
    code, _, err = run(capsys, bundle, "-p", pairs_folder, "--dnsmos", tmp_path / "gone.onnx")
    assert code == 2
    assert "take sig_bak_ovr.onnx" in err


def test_what_is_missing_is_said(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    for name, seconds in (("long", 21), ("short", 1)):
        speech = 0.1 * rng.standard_normal(seconds * RATE)
        write_pair(
            tmp_path / "pairs", name, speech + 0.01 * rng.standard_normal(len(speech)), speech
        )
    code, out, _ = run(capsys, bundle, "-p", tmp_path / "pairs", "-m", "pesq", "-j", 1, "--clips")
    assert code == 0
    assert "(1 clips)" in out
    assert "No PESQ-WB of long (noisy): PESQ takes clips of at most 20 s" in out
    assert f"No PESQ-WB of long ({bundle}): PESQ takes clips" in out


@pytest.mark.parametrize(
    ("gates", "code", "message"),
    [
        (("--min-pesq", 1.0, "--min-si-sdr", 0, "--min-stoi", 0.5), 0, ""),
        (("--min-pesq-gain", -0.5, "--min-si-sdr-gain", -0.5), 0, ""),
        (("--min-pesq", 4.6), 1, "is below --min-pesq 4.6"),
        (("--min-si-sdr", 60), 1, "is below --min-si-sdr 60"),
        (("--min-stoi", 1.0), 1, "is below --min-stoi 1"),
        (("--min-pesq-gain", 1), 1, "mean PESQ-WB gain 0.000 is below --min-pesq-gain 1"),
        (("--min-si-sdr-gain", 2.5), 1, "is below --min-si-sdr-gain 2.5"),
    ],
)
def test_gates(
    gates: tuple[object, ...],
    code: int,
    message: str,
    pairs_folder: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    bundle = write_bundle(tmp_path / "same")
    options = ("-p", pairs_folder, "-m", "pesq", "-m", "si_sdr", "-m", "stoi", "-j", 1)
    left, out, err = run(capsys, bundle, *options, *gates)
    assert left == code
    assert "PESQ-WB" in out
    if message:
        assert err.count("\n") == 1
        assert err.startswith(f"error: {bundle}: mean ")
        assert message in err
    else:
        assert err == ""


def test_every_bundle_has_to_pass(pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    good, bad = (write_bundle(tmp_path / name, gain=gain) for name, gain in (("a", 1), ("b", 0)))
    options = ("-p", pairs_folder, "-m", "stoi", "-m", "si_sdr", "-j", 1, "--json")
    code, out, err = run(capsys, good, bad, *options, "--min-stoi", 0.3, "--min-si-sdr", 0)
    assert code == 1
    one, two = ({gate["option"]: gate for gate in b["gates"]} for b in json.loads(out)["bundles"])
    assert one["--min-stoi"]["passed"] is True
    assert one["--min-stoi"]["value"] > one["--min-stoi"]["least"] == 0.3
    assert (two["--min-stoi"]["value"], two["--min-stoi"]["passed"]) == (0.0, False)
    assert (two["--min-si-sdr"]["value"], two["--min-si-sdr"]["passed"]) == (None, False)
    assert f"error: {bad}: mean SI-SDR has no value, --min-si-sdr 0; {bad}: mean STOI 0.000" in err
    assert str(good) not in err


def test_pairs_that_cannot_be_used(
    bundle: Path, pairs_folder: Path, tmp_path: Path, clean: Signal, capsys: Capture
) -> None:
    soundfile.write(pairs_folder / "vbd_one.clean.wav", clean, RATE)
    code, out, err = run(capsys, bundle, "-p", pairs_folder)
    assert (code, out) == (2, "")
    assert err == (
        "error: vbd_one: noisy has 16000 samples, clean 32000; align them and cut both to one "
        "length\n"
    )
    (pairs_folder / "vbd_one.clean.wav").unlink()
    code, _, err = run(capsys, bundle, "-p", pairs_folder)
    assert code == 2
    assert "vbd_one.noisy.wav: has no clean speech; add vbd_one.clean.wav" in err
    (tmp_path / "empty").mkdir()
    assert run(capsys, bundle, "-p", tmp_path / "empty")[0] == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "give --pairs FOLDER, or --noisy FOLDER and --clean FOLDER (see: "),
        (("-p", ".", "--noisy", "."), "give --pairs FOLDER, or"),
        (("--noisy", "."), "give --pairs FOLDER, or"),
        (("-p", ".", "--windowed"), "--windowed goes with --stream"),
        (("-p", ".", "--stream", "--windowed", "--precision", "fp32"), "without --precision"),
        (("-p", ".", "-m", "stoi", "--min-pesq", "1"), "--min-pesq needs --metric pesq; add it"),
        (("-p", ".", "--jobs", "0"), "--jobs"),
        (("-p", "gone"), "gone: no such folder"),
        (("-p", "{pairs}", "{bundle}"), "twice with the same options; give it once"),
        (("-p", "{pairs}", "{bundle}/../half"), "half twice with the same options"),
        (("-p", "{pairs}", "-b", "auto", "-b", "auto"), "twice with the same options"),
        (("-p", "{pairs}", "-b", "cuda"), "unknown backend 'cuda'"),
        (("-p", "{pairs}", "--precision", "fp16"), "no fp16 file in this bundle"),
        (("-p", "{pairs}", "--stream"), "no streaming core"),
        (("-p", "{pairs}", "--csv", "."), ".: is a folder; give a file"),
        (("-p", "{pairs}", "--csv", "{pairs}/mix_one.noisy.wav/a.csv"), "wav: is no folder"),
        (("-p", "{pairs}", "--csv", "/dev/full"), "/dev/full: is a device or a pipe"),
        (("-p", "{pairs}", "--markdown", "no/such/page.md"), "no/such: no such folder; make it"),
        (("-p", "{pairs}", "--csv", "a", "--markdown", "./a"), "--csv and --markdown are both a"),
    ],
)
def test_options_that_cannot_be_used(
    given: tuple[str, ...], message: str, bundle: Path, pairs_folder: Path, capsys: Capture
) -> None:
    filled = [option.format(pairs=pairs_folder, bundle=bundle) for option in given]
    code, out, err = run(capsys, bundle, *filled)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_file_that_may_not_be_written(
    bundle: Path,
    pairs_folder: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Root may write everything, so the answer of the system is put in its mouth."""
    table = tmp_path / "clips.csv"
    table.touch()
    for blocked in (tmp_path, table):
        with monkeypatch.context() as patch:
            patch.setattr("os.access", lambda path, mode, blocked=blocked: path != blocked)
            code, out, err = run(capsys, bundle, "-p", pairs_folder, "--csv", table)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"no permission for {blocked}; give another" in err


def test_results_are_shown_before_they_are_written(
    bundle: Path,
    pairs_folder: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(outputs, "replace_file", full)
    table = tmp_path / "clips.csv"
    code, out, err = run(capsys, bundle, "-p", pairs_folder, "-m", "stoi", "-j", 1, "--csv", table)
    assert code == 2
    assert "STOI" in out
    assert err == f"error: {table}: No space left on device; make room or give another file\n"


def test_no_bundle(pairs_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run(capsys, tmp_path, "-p", pairs_folder)
    assert code == 2
    assert "no bundle here" in err
    assert run(capsys, "-p", pairs_folder)[0] == 2


def test_without_the_extra(
    bundle: Path, pairs_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frcrn_export.calibration.quality import scoring

    monkeypatch.setattr(scoring, "find_spec", lambda name: None if name == "pesq" else name)
    code, _, err = run(capsys, bundle, "-p", pairs_folder)
    assert code == 2
    assert 'not installed: pesq; run: pip install "frcrn-export[quality]"' in err
    assert run(capsys, bundle, "-p", pairs_folder, "-m", "si_sdr", "-j", 1)[0] == 0


def test_neither_torch_nor_onnx_is_needed(bundle: Path, pairs_folder: Path) -> None:
    code = """
import sys
from frcrn_export.cli import main
try:
    main(["evaluate", sys.argv[1], "--pairs", sys.argv[2], "--jobs", "1"])
finally:
    print("imported:", {"torch", "onnx"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(bundle), str(pairs_folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (
        0,
        f"{bundle}: gain, weights: gain (random: the output is not speech)\n",
    )
    assert "PESQ-WB" in result.stdout
    assert "imported: set()" in result.stdout
