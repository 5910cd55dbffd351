"""Wave-U-Net of strided convolutions."""
