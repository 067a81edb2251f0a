"""The engine's list of the insert tokens that it has seen, per table, mended after a crash or a full disk.

The engine writes a token into `deduplication_logs` and only then gives the rows their place. Killed in between, or where the
disk has no room for that, it knows the token and has not the rows: the same insert, asked for again, would be dropped as done,
and the rows be lost. Such a token is taken out while its table is closed; so is an entry that was half written, which would
hide those that come behind it. Tokens whose rows were there once must stay: a rebuild replaces parts and relies on them. So
after a failed statement only blocks that are newer than its beginning are looked at, and after a crash only those that are
newer than every part: a table numbers its blocks in the order of its tokens.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = re.compile(r"deduplication_log_(\d+)\.txt")
_ENTRY = re.compile(rb"([12])\t([^\t\n]+)\t[^\t\n]+\n")
# Partition, first and last block, level, and perhaps a mutation.
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?")
_ADDED: Final = b"1"
_TAIL: Final = 1 << 14
# The newest block in the logs of each table.
Newest = Mapping[Path, int]


@dataclass(frozen=True, slots=True)
class _Log:
    """What a file should hold instead, and the parts of the entries that are taken out; empty where one is no entry."""

    path: Path
    content: bytes
    taken_out: tuple[str, ...]


def newest(data: Path) -> Newest:
    """In all tables below the engine's folder, now."""
    out = {}
    for logs in data.glob("store/*/*/deduplication_logs"):
        # A table may be dropped meanwhile.
        with contextlib.suppress(FileNotFoundError):
            out[logs.parent] = _newest_in(logs)
    return out


def suspects(data: Path, since: Newest | None = None) -> list[Path]:
    """Folders of tables with something to take out; one that gives rows their place just now may seem so. Without `since`:
    after a crash."""
    out = []
    for logs in sorted(data.glob("store/*/*/deduplication_logs")):
        # A table may be dropped meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if _sorted_out(logs, since):
                out.append(logs.parent)
    return out


def mend(table: Path, since: Newest | None = None) -> list[str]:
    """In the folder of a table that is closed; the parts whose tokens were taken out."""
    logs = _sorted_out(table / "deduplication_logs", since)
    for log in logs:
        with log.path.open("r+b") as file:
            # Never longer than it was: a full disk refuses nothing of it.
            file.write(log.content)
            file.truncate()
    return [part for log in logs for part in log.taken_out]


def _sorted_out(logs: Path, since: Newest | None) -> list[_Log]:
    """The files that should be otherwise."""
    # Logs before parts: the part of an insert that ends in between is seen, its token is not.
    lines = {path: path.read_bytes().splitlines(keepends=True) for path in _files(logs)}
    there, found = _Parts(logs.parent), []
    newer_than = there.newest if since is None else since.get(logs.parent, 0)
    for path, entries in lines.items():
        kept, taken_out = [], []
        for line in entries:
            entry = _ENTRY.fullmatch(line)
            part = entry[2].decode("utf-8", "replace") if entry is not None else ""
            is_added = entry is not None and entry[1] == _ADDED
            if entry is None or (is_added and there.lacks(part, newer_than)):
                taken_out.append(part)
            else:
                kept.append(line)
        if taken_out:
            found.append(_Log(path, b"".join(kept), tuple(taken_out)))
    return found


def _files(logs: Path) -> list[Path]:
    numbered = [(int(match[1]), path) for path in logs.iterdir() if (match := _LOG.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def _newest_in(logs: Path) -> int:
    for path in reversed(_files(logs)):
        for most in (_TAIL, path.stat().st_size):
            with path.open("rb") as file:
                file.seek(-min(most, file.seek(0, os.SEEK_END)), os.SEEK_END)
                entries = [_ENTRY.fullmatch(line) for line in file]
            blocks = [_blocks(entry[2])[2] for entry in entries if entry is not None and entry[1] == _ADDED]
            if blocks:
                return max(blocks)
    return 0


def _blocks(part: bytes) -> tuple[str, int, int]:
    """Partition, first and last block; the last is 0 where the name is none."""
    match = _PART.fullmatch(part.decode("utf-8", "replace"))
    return (match[1], int(match[2]), int(match[3])) if match else ("", 0, 0)


class _Parts:
    """The blocks that the parts of a table hold, by partition."""

    def __init__(self, table: Path) -> None:
        self._blocks = defaultdict(list)
        self.newest = 0
        for folder in table.iterdir():
            partition, first, last = _blocks(folder.name.encode())
            if last:
                self._blocks[partition].append((first, last))
                self.newest = max(self.newest, last)

    def lacks(self, part: str, newer_than: int) -> bool:
        """Whether neither that part is there, which is newer than that, nor one that it was merged into."""
        partition, first, last = _blocks(part.encode())
        is_there = any(one <= first and last <= other for one, other in self._blocks.get(partition, ()))
        return first > newer_than and not is_there
