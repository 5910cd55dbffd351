"""Engines for NVIDIA GPUs: GPUs, profiles, and the builders of TensorRT and TensorRT-RTX."""
