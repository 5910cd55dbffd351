"""INT8 and FP8 cores: calibration, quantized graphs, gates. And the quality of denoised speech."""
