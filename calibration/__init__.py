"""Calibration data, INT8 quantization and quality metrics. Nothing here yet."""
