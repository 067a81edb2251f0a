"""The engine's list of the insert tokens that it has seen, per table, mended after a crash or a full disk.

The engine writes a token into `deduplication_logs` and only then gives the rows their place. Killed in between, or where the
disk has no room for that, it knows the token and has not the rows: the same insert, asked for again, would be dropped as done,
and the rows be lost. Such a token is taken out while its table is closed; so is an entry that was half written, which would
hide those that come behind it. A token whose rows are gone for another reason (their time was over) may go, too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = re.compile(r"deduplication_log_(\d+)\.txt")
_ENTRY = re.compile(rb"([12])\t([^\t\n]+)\t[^\t\n]+\n")
# Partition, first and last block, level, and perhaps a mutation.
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?")
_ADDED: Final = b"1"
# Who repeats an insert does so soon.
_NEWEST: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Log:
    """What a file should hold instead, and the parts of the entries that are taken out; empty where one is no entry."""

    path: Path
    content: bytes
    taken_out: tuple[str, ...]


def suspects(data: Path) -> list[Path]:
    """Folders of tables with something to take out; one that is being inserted into may seem so."""
    return [logs.parent for logs in sorted(data.glob("store/*/*/deduplication_logs")) if _sorted_out(logs)]


def mend(table: Path) -> list[str]:
    """In the folder of a table that is closed; the parts whose tokens were taken out."""
    logs = _sorted_out(table / "deduplication_logs")
    for log in logs:
        with log.path.open("r+b") as file:
            # Never longer than it was: a full disk refuses nothing of it.
            file.write(log.content)
            file.truncate()
    return [part for log in logs for part in log.taken_out]


def _sorted_out(logs: Path) -> list[_Log]:
    """The files that should be otherwise."""
    numbered = sorted((int(match[1]), path) for path in logs.iterdir() if (match := _LOG.fullmatch(path.name)))
    there = _blocks(logs.parent)
    found, seen = [], 0
    for _, path in reversed(numbered):
        kept, taken_out = [], []
        for line in reversed(path.read_bytes().splitlines(keepends=True)):
            seen += 1
            entry = _ENTRY.fullmatch(line)
            if entry is None:
                taken_out.append("")
            elif entry[1] == _ADDED and seen <= _NEWEST and not _has(there, entry[2].decode("utf-8", "replace")):
                taken_out.append(entry[2].decode("utf-8", "replace"))
            else:
                kept.append(line)
        if taken_out:
            found.append(_Log(path, b"".join(reversed(kept)), tuple(taken_out)))
    return found


def _blocks(table: Path) -> dict[str, list[tuple[int, int]]]:
    """The blocks that the parts of a table hold, by partition."""
    found = defaultdict(list)
    for folder in table.iterdir():
        if match := _PART.fullmatch(folder.name):
            found[match[1]].append((int(match[2]), int(match[3])))
    return found


def _has(there: dict[str, list[tuple[int, int]]], part: str) -> bool:
    """Whether that part is there, or one that it was merged into."""
    wanted = _PART.fullmatch(part)
    if wanted is None:
        return True
    return any(first <= int(wanted[2]) and int(wanted[3]) <= last for first, last in there.get(wanted[1], ()))
