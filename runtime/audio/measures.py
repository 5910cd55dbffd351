"""Measures of how far one signal is from another, in decibels."""

import numpy as np

from frcrn_export.runtime.arrays import FloatArray


def snr_db(reference: FloatArray, estimate: FloatArray) -> float:
    """Signal-to-error ratio 10 log10(sum(ref^2) / sum((ref - est)^2)) in dB over all samples.

    Identical arrays give inf; a silent reference with a non-zero error gives -inf; an estimate that
    is not finite gives nan.
    """
    ref = reference.astype(np.float64)
    error = float(np.sum((ref - estimate.astype(np.float64)) ** 2))
    signal = float(np.sum(ref**2))
    if np.isnan(error):
        return float("nan")
    if error == 0.0:
        return float("inf")
    if signal == 0.0:
        return float("-inf")
    return float(10.0 * np.log10(signal / error))


def si_sdr_db(reference: FloatArray, estimate: FloatArray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of two [N] signals, without mean removal.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, eq. 2-3.
    """
    ref = reference.astype(np.float64).ravel()
    est = estimate.astype(np.float64).ravel()
    scale = float(np.dot(est, ref)) / (float(np.dot(ref, ref)) + np.finfo(np.float64).tiny)
    return snr_db(scale * ref, est)
