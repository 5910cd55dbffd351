"""INT8 and FP8 cores: calibration, quantized graphs, gates; and the quality of denoised speech."""
