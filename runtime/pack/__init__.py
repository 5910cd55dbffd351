"""Packing a bundle for one target: the files that it runs, as an archive or a folder."""
