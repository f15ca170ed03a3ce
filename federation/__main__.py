"""``python -m federation``: the command line."""

import sys

from federation.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
