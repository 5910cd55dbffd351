"""The networks: one folder a family, found by name; see `Family` in exporters/family.py.

Nothing outside these folders names a network or an option of one.
"""
