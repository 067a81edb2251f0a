"""The disk below the data, and what the engine wrote there.

chDB does not notice a write that the disk refuses: a part, or a result, lies there cut off as if it were whole. So nothing is
begun where little room is left, merging stops (analytics.embedded.guard), and parts that were written while it was scarce are
measured against what the engine believes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analytics.embedded.errors import NOT_ENOUGH_SPACE, ServerError

# Kept free, or an eighth of a small disk.
KEEP_BYTES: Final = 256 << 20
# As much is not used up within one insert.
AMPLE_BYTES: Final = 1 << 30
# They do not count in a part's size.
_UNCOUNTED: Final = frozenset(
    {
        "checksums.txt",
        "columns.txt",
        "columns_substreams.txt",
        "default_compression_codec.txt",
        "metadata_version.txt",
    }
)


class Disk:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        status = os.statvfs(folder)
        self.keep = min(KEEP_BYTES, status.f_blocks * status.f_frsize // 8)

    @property
    def free(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    @property
    def is_low(self) -> bool:
        return self.free < self.keep

    @property
    def is_ample(self) -> bool:
        return self.free >= AMPLE_BYTES

    def check(self) -> None:
        """Before anything is written."""
        if (free := self.free) < self.keep:
            raise ServerError(
                NOT_ENOUGH_SPACE,
                f"No space left: {free >> 20} MiB are free on the disk of {self._folder}, of which the last"
                f" {self.keep >> 20} MiB are not used: make room (NOT_ENOUGH_SPACE)",
            )


@dataclass(frozen=True, slots=True)
class Part:
    """As the engine believes it to be. `is_made_of_others`: they are still there."""

    full_table: str
    name: str
    folder: Path
    size: int
    is_made_of_others: bool


def seems_whole(part: Part) -> bool:
    """Whether its files are as long as they should be; a part that has left meanwhile, or has parts of its own, seems so."""
    size = 0
    try:
        for file in part.folder.iterdir():
            if file.is_dir():
                return True
            length = file.stat().st_size
            if file.name not in _UNCOUNTED:
                size += length
            elif not length:
                return False
    except FileNotFoundError:
        return True
    return size >= part.size
