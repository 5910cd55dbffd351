"""The quality of two bundles on pairs of noisy and clean speech, as SI-SDR."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.measures import si_sdr_db
from frcrn_export.runtime.audio.pairs import find_pairs, read_pair
from frcrn_export.runtime.bench.cases import Wanted, find_cases
from frcrn_export.runtime.bench.changes import QualityChange
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.sessions.registry import BACKENDS

PairSignals = tuple[Float32Array, Float32Array]


def read_pairs(folder: Path, sample_rate: int) -> list[PairSignals]:
    """Noisy and clean speech [N] of every pair in a folder. Raises UserError, AudioError."""
    read = (read_pair(pair, sample_rate) for pair in find_pairs(folder))
    return [(each.noisy, each.clean) for each in read]


def quality_changes(
    base: Bundle, new: Bundle, pairs: Sequence[PairSignals], max_drift_db: float
) -> Iterator[QualityChange]:
    """The mean SI-SDR of each core that both bundles have and that runs here.

    It fails where it is lower than the base's by more than `max_drift_db`.
    """
    if not pairs:
        return
    wanted = Wanted(kinds=("offline",), threads=(1,))
    before, after = (
        {case.entry.path: case for case in find_cases(bundle, wanted).cases}
        for bundle in (base, new)
    )
    for path in before.keys() & after.keys():
        means = []
        for bundle, case in ((base, before[path]), (new, after[path])):
            session = BACKENDS[case.backend].open(bundle, case.entry, None)
            denoiser = Denoiser(bundle.manifest, session)
            values = [si_sdr_db(clean, denoiser(noisy)) for noisy, clean in pairs]
            means.append(float(np.mean(values)))
        yield QualityChange(
            artifact=path,
            pairs=len(pairs),
            base_db=means[0],
            new_db=means[1],
            outcome="failed"
            if means[1] < means[0] - max_drift_db
            else "same"
            if means[0] == means[1]
            else "changed",
        )
