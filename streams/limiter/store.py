"""Seen commands and the bytes of held ones of one partition, on disk.

A cache, rebuilt from `wa.limits` at every take-over: one SQLite file per partition, emptied when it is opened, so that
nothing needs to be durable here. Seen commands stand in one table per day, and a day that is over goes as a whole.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from streams.limiter.items import Seen, unpack_seen


class Store:
    """The store of one partition; `path` is its file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Nothing here outlives the process: no journal, no fsync.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-8192"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(
            "CREATE TABLE seen (day INTEGER, digest BLOB, stood INTEGER, value BLOB, PRIMARY KEY (day, digest))"
            " WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE held (digest BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self._days: list[int] = []
        self._open = False
        self._highest = -1

    def seen(self, digest: bytes) -> Seen | None:
        """The command of that digest."""
        for day in reversed(self._days):
            row = self._db.execute("SELECT value FROM seen WHERE day = ? AND digest = ?", (day, digest)).fetchone()
            if row is not None:
                return unpack_seen(row[0])
        return None

    def put_seen(self, digest: bytes, seen: Seen) -> None:
        """Remember a command, or its newer result."""
        self._begin()
        self._highest = max(self._highest, seen.offset)
        day = seen.day
        if day not in self._days:
            self._days = sorted([*self._days, day])
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", (day, digest, seen.offset, seen.pack()))

    def drop_seen(self, day: int, digest: bytes) -> None:
        """Forget a command."""
        self._begin()
        self._db.execute("DELETE FROM seen WHERE day = ? AND digest = ?", (day, digest))
        if day in self._days and not self.digests(day, 1):
            self._days.remove(day)

    def days(self) -> list[int]:
        """The days that have seen commands, oldest first."""
        return list(self._days)

    def digests(self, day: int, limit: int) -> list[bytes]:
        """Some commands of that day."""
        rows = self._db.execute("SELECT digest FROM seen WHERE day = ? LIMIT ?", (day, limit))
        return [digest for (digest,) in rows]

    def seen_from(self, offset: int) -> list[tuple[int, bytes]]:
        """Day and digest of the commands that stood at or above an offset."""
        if self._highest < offset:
            return []
        return list(self._db.execute("SELECT day, digest FROM seen WHERE stood >= ?", (offset,)))

    def body(self, digest: bytes) -> bytes:
        """The bytes of a held command; KeyError when there are none."""
        row = self._db.execute("SELECT value FROM held WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise KeyError(digest.hex())
        return bytes(row[0])

    def put_body(self, digest: bytes, value: bytes) -> None:
        """Keep the bytes of a held command."""
        self._begin()
        self._db.execute("INSERT OR REPLACE INTO held VALUES (?, ?)", (digest, value))

    def drop_body(self, digest: bytes) -> None:
        """The command is held no more."""
        self._begin()
        self._db.execute("DELETE FROM held WHERE digest = ?", (digest,))

    def flush(self) -> None:
        """End of a batch."""
        if self._open:
            self._db.execute("COMMIT")
            self._open = False

    def close(self) -> None:
        """The partition is somebody else's: forget everything."""
        self._db.close()
        self._path.unlink(missing_ok=True)

    def _begin(self) -> None:
        if not self._open:
            self._db.execute("BEGIN")
            self._open = True
