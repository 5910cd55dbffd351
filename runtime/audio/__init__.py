"""Audio in and out of the network: files, resampling, level, framing, STFT."""
