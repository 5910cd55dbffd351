"""Where the program begins: `frcrn-export`, and `python -m frcrn_export`."""

import os
import sys


def main() -> None:
    """Run the command line. A Ctrl-C while it is still being imported ends it quietly, too."""
    try:
        from frcrn_export.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
        os._exit(130)  # half of it is imported: nothing is to be cleared away
    run()


if __name__ == "__main__":
    main()
