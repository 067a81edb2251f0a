"""`python -m connectors`: one connector process; with `--leave` its slot is given up for good."""

import sys

from connectors.app import main

if __name__ == "__main__":
    sys.exit(main())
