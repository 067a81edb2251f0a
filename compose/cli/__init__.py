"""The `wharf` command. `compose.cli.app` puts it together; each module with a `register(app)` adds its commands."""

from __future__ import annotations

from compose.cli.app import main

__all__ = ["main"]
