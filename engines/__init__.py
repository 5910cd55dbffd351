"""Engines for NVIDIA GPUs: targets, FP16 files, TensorRT builders. Nothing here yet."""
