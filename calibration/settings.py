"""What calibration takes where nobody says otherwise; quick to import, for --help."""

from frcrn_export.runtime.bundle.manifest import CalibrationMethod

METHOD: CalibrationMethod = "mse"
CLIPS = 64
MINUTES = 20.0  # for the damage of each layer
