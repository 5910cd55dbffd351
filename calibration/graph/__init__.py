"""Quantizing ONNX graphs."""
