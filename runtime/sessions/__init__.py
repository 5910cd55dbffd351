"""One module per backend that can run a core."""
