"""Defaults of calibration; quick to import, for --help."""

from collections.abc import Callable

from frcrn_export.runtime.bundle.manifest import CalibrationMethod

METHOD: CalibrationMethod = "mse"
CLIPS = 64
MINUTES = 20.0  # for the sensitivity of each layer


Progress = Callable[[str, int, int], None]  # the phase, what is done of it, of how much
