"""The published networks in PyTorch, written for clarity, with the published tensor names."""
