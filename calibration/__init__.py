"""Quality of denoised speech, measured on pairs of noisy and clean recordings."""
