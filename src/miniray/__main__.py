"""``python -m miniray``: the command line."""

import sys

from miniray._cli import main

if __name__ == "__main__":
    sys.exit(main())
