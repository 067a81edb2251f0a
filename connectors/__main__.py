"""`python -m connectors`: one connector process."""

import sys

from connectors.app import main

if __name__ == "__main__":
    sys.exit(main())
