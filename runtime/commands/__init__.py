"""The commands that need no PyTorch."""
