"""The logs that the leashes keep, read: the last lines, and what is added, also across a rotation."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 0.2


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of the log, rotated parts not included."""
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, lines)]


def follow(path: Path) -> Iterator[str]:
    """What is written from now on, for ever."""
    file = path.open(errors="replace")
    file.seek(0, 2)
    unfinished = ""
    try:
        while True:
            if part := file.readline():
                unfinished += part
                if unfinished.endswith("\n"):
                    yield unfinished.rstrip("\n")
                    unfinished = ""
            elif path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = path.open(errors="replace")
            else:
                time.sleep(POLL_SECONDS)
    finally:
        file.close()
