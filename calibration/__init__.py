"""Calibration data, INT8 quantization and quality metrics. Not built yet."""
