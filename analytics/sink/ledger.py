"""What the sink writes into the metadata of its offset commits. Pure.

A batch is named before it is inserted and marked after it: `pending` with its range, committed at the range's first offset;
`done`, committed after the range's last, and once more behind what follows it and is no record (a transaction's marker), so
that a position at a partition's end does not fall behind the log. Whoever takes a partition over finds in its newest commit
either a position to go on from, or a range that must be inserted exactly as it was named, because perhaps it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from core.errors import DBError

State = Literal["pending", "done"]


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of the first and the last record of a batch; those between may be missing (aborted, control records)."""

    topic: str
    partition: int
    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"no range: {self.first} to {self.last}")

    @property
    def token(self) -> str:
        """By this alone ClickHouse knows the batch again."""
        return f"{self.topic}-{self.partition}-{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: where the group stands, and what its metadata says."""

    position: int
    metadata: str


def pending(batch: Range) -> Entry:
    return Entry(batch.first, _encode("pending", batch))


def done(batch: Range) -> Entry:
    return Entry(batch.last + 1, _encode("done", batch))


def passed(position: int) -> Entry:
    """Nothing is pending, and everything below is stored or was never a record."""
    return Entry(position, json.dumps({"by": "sink", "t": "done"}, separators=(",", ":")))


def to_replay(topic: str, partition: int, position: int, metadata: str | None) -> Range | None:
    """The range that a commit leaves pending; None where it leaves none, or is somebody else's (a tool that set offsets).

    DBError where it is a mark of ours that cannot be followed: going on would lose or double that range.
    """
    try:
        body = json.loads(metadata or "null")
    except ValueError:
        return None
    if not isinstance(body, dict) or body.get("by") != "sink":
        return None
    try:
        if body["t"] == "done":
            return None
        found = Range(topic, partition, int(body["first"]), int(body["last"]))
    except (KeyError, TypeError, ValueError) as cause:
        text = f"the sink's mark on {topic}[{partition}] cannot be read: {str(metadata)[:200]}"
        raise DBError("db.state_corrupt", text) from cause
    if body["t"] != "pending" or found.first != position:
        text = f"the sink's mark on {topic}[{partition}] does not fit its position {position}: {str(metadata)[:200]}"
        raise DBError("db.state_corrupt", text)
    return found


def _encode(state: State, batch: Range) -> str:
    body = {"by": "sink", "t": state, "first": batch.first, "last": batch.last}
    return json.dumps(body, separators=(",", ":"))
