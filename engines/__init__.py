"""TensorRT engines: target GPUs, profiles, and the builders of TensorRT and TensorRT-RTX."""
