"""``python -m fwdgrad``: the command line."""

import sys

from fwdgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
