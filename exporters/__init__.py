"""From a PyTorch checkpoint to verified ONNX and TorchScript bundles."""
