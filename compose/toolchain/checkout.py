"""Which code this is, so that recorded figures can be told apart."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commit(folder: Path = ROOT) -> str | None:
    """The id of the commit that is checked out there, `-dirty` behind it when files differ; None outside a checkout of git."""
    if not (folder / ".git").exists():
        return None  # it may lie inside another project's checkout
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
