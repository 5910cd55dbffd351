"""Engines for NVIDIA GPUs: targets, profiles, and the builders of TensorRT and TensorRT-RTX."""
