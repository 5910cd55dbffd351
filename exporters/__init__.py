"""From a PyTorch checkpoint to verified ONNX and TorchScript bundles, and the command line."""
