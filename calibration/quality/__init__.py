"""Quality of denoised speech: `frcrn-export evaluate`."""
