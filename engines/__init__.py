"""Engines for NVIDIA GPUs: targets, FP16 files, TensorRT and TensorRT-RTX builders. Not built yet."""
