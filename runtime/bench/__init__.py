"""Measuring bundles and comparing them: exact counters first, then times with their noise."""
