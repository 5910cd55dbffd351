"""FRCRN."""
