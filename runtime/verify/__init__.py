"""Comparing artifacts with the vectors in their bundle, offline and streaming."""
