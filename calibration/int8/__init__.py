"""INT8 files from float ones: calibration data, ranges, Q/DQ, gates and the report."""
