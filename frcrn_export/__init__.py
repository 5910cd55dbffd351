"""From a PyTorch speech denoiser to verified ONNX, TorchScript and TensorRT artifacts."""

from pkgutil import extend_path

# The four packages lie beside this folder in a checkout, and inside it when installed.
__path__ = extend_path(__path__, __name__)
