"""The entry point of `frcrn-export` and `python -m frcrn_export`."""

import os
import sys


def main() -> None:
    """Run the command line. Ctrl-C during its import ends it quietly too."""
    try:
        from frcrn_export.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
        os._exit(130)  # imports are incomplete, and nothing needs cleaning up
    run()


if __name__ == "__main__":
    main()
