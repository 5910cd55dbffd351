"""`python -m frcrn_export` is `frcrn-export`."""

from frcrn_export.cli import main

main()
