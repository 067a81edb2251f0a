"""`python -m compose.cli` is the `wharf` command, for processes that start it without relying on the path."""

from compose.cli.app import main

if __name__ == "__main__":
    main()
