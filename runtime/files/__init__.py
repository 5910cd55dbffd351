"""Denoising audio files: which output belongs to which input, and the run over them."""
