"""The packaged `wave-unet-16k` on speech, music and silence: the figures of its card.

    python benchmarks/default_model.py PAIRS [--checkpoint FILE]

PAIRS holds NAME.noisy.flac and NAME.clean.flac, none of them used in training. Exports the weights,
runs them as `frcrn-export denoise` does, on one thread of ONNX Runtime, and writes
results/default_model.json and docs/before_after.png; `make bench-tables` makes the tables of it.
"""

import argparse
import json
import tempfile
from contextlib import chdir
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import soundfile
from machine import write
from PIL import Image

from frcrn_export.calibration.quality.evaluation import (
    Choice,
    Evaluation,
    Subject,
    measure,
    open_subjects,
)
from frcrn_export.calibration.quality.report import json_report
from frcrn_export.calibration.quality.scoring import Scorer
from frcrn_export.calibration.quality.tables import tables
from frcrn_export.exporters.assets import ASSETS
from frcrn_export.exporters.bundle import export_onnx
from frcrn_export.exporters.loading import load_model
from frcrn_export.runtime.audio.measures import si_sdr_db
from frcrn_export.runtime.audio.pairs import Pair, find_pairs, read_pair
from frcrn_export.runtime.audio.source import Float32Array
from frcrn_export.runtime.audio.spectrogram import plot_before_after

RATE = 16000
DOCS = Path(__file__).resolve().parents[1] / "docs"
WEIGHTS = ASSETS / "wave-unet-16k.safetensors"
MUSIC = ("music-jazz", "music-song")  # in the names of pairs whose noise is music


def level_db(wave: Float32Array) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


def clean_in(subject: Subject, pairs: list[Pair]) -> dict[str, float]:
    """SI-SDR in dB of what is left of each clean recording, against it."""
    clean = {pair.name: read_pair(pair, RATE).clean for pair in pairs}
    return {name: si_sdr_db(wave, subject.denoise(wave)) for name, wave in clean.items()}


def music_alone(subject: Subject, pairs: list[Pair]) -> dict[str, float]:
    """By how many dB music without speech gets quieter."""
    lost = {}
    for pair in pairs:
        if any(name in pair.name for name in MUSIC):
            clip = read_pair(pair, RATE)
            music = clip.noisy - clip.clean
            lost[pair.name] = level_db(music) - level_db(subject.denoise(music))
    return lost


def before_after(subject: Subject, pair: Pair, picture: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        after = Path(folder) / "denoised.wav"
        soundfile.write(after, subject.denoise(read_pair(pair, RATE).noisy), RATE)
        plot_before_after(pair.noisy, after, picture)
    Image.open(picture).quantize(128).save(picture, optimize=True)  # a sixth of the size


def best_pesq(evaluation: Evaluation) -> Pair:
    """The clip whose PESQ gains most: of what the network is able to."""
    return max(evaluation.clips, key=lambda clip: clip.gain("pesq", 0) or 0.0).pair


def figures(subject: Subject, evaluation: Evaluation, pairs: list[Pair]) -> dict[str, Any]:
    silence = subject.denoise(np.zeros(5 * RATE, np.float32))
    clean = clean_in(subject, pairs)
    return {
        "evaluation": json_report(evaluation),
        "clean_in_si_sdr_db": {"least": min(clean.values()), "mean": mean(clean.values()), **clean},
        "music_alone_quieter_by_db": music_alone(subject, pairs),
        "silence_in_peak": float(np.abs(silence).max()),
        "real_time_factor_one_thread": evaluation.real_time_factors[0],
        "checkpoint_bytes": WEIGHTS.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="other weights; nothing is written then")
    args = parser.parse_args()

    pairs = find_pairs(args.pairs.resolve())
    model = load_model("wave-unet-16k", args.checkpoint)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        export_onnx(model, Path("default"))
        (subject,) = open_subjects([Choice(Path("default"), "onnxruntime-cpu")], threads=1)
        evaluation = measure([subject], pairs, Scorer(RATE))
        result = figures(subject, evaluation, pairs)
        for table in tables(evaluation, clips=True):
            print("\n".join("  ".join(row) for row in (table.columns, *table.rows)))
        print(json.dumps({key: result[key] for key in result if key != "evaluation"}, indent=2))
        if args.checkpoint is None:
            write("default_model", result)
            before_after(subject, best_pesq(evaluation), DOCS / "before_after.png")


if __name__ == "__main__":
    main()
