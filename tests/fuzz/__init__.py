"""Damaged and hostile files for every reader of files from outside.

`python -m tests.fuzz --mutations 2000` runs many; `test_fuzz.py` runs some of them in CI.
"""
