"""The bundle: its manifest, reading it, changing it in one step, what mends it."""
