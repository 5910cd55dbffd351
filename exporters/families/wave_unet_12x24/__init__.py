"""The published 12-layer Wave-U-Net with interpolation."""
