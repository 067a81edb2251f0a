"""The gate: what holds the sinks' inserts back while rollups are replaced. A table per rebuild, whose comment is its state.

Rules. Of a sink (analytics.sink.sink):
- S1: it inserts a range only after its pending mark was committed *and then* a look at the gates found none closed;
- S2: it names no new range while there is a gate, closed or not (so that a rebuild's wait ends).
Of a rebuild (analytics.rebuild):
- R1: it makes its staging tables, then its gate; nothing is replaced but from these tables;
- R2: it waits until the group's ledger has no pending mark, closes the gate, and looks at the ledger again: with a pending
  mark there it opens the gate a little (`closing`) and waits again; otherwise it works, and drops the gate at the end.
Of whoever finds a gate that its holder has not touched for STALE_MS:
- B1: drop the staging tables of that gate, waiting until nothing uses them (SYNC), then the gate.

Proof that nothing is inserted while a rebuild works. Take an insert of a range that overlaps the work. Its look (S1) came
before the gate was closed, or it would have seen that. So its mark was committed before that, and the second look at the
ledger (R2) came later and found no mark: the range was done, the insert over. A process that stood still and inserts later
does so under a token that ClickHouse knows, since done means inserted, and replacing a partition keeps the tokens. (As long
as ClickHouse remembers: analytics.schema.engines has how many. What such a process counts again later, a rebuild puts right.)
Proof that nothing is replaced after a gate was broken: its staging tables are gone, and never come back (R1, B1).
Names carry an id that is used once, so nobody breaks a gate that he did not look at.
These rules keep a rebuild and the sinks apart, not two rebuilds, nor a rebuild and a replay, which would undo each other behind
gates of their own: those hold the lock of analytics.repairs, and whoever takes it clears away what others left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from analytics.client import UNKNOWN_TABLE
from analytics.schema.engines import Engines

STALE_MS = 30_000
_NAME = re.compile(r"rebuild_([0-9a-f]{8})")
State = Literal["closing", "closed"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A gate as somebody else sees it; `again` is the command that its holder was asked with."""

    gate_id: str
    state: State
    again: str
    touched_ms: int

    def is_stale(self, now_ms: int) -> bool:
        return now_ms - self.touched_ms > STALE_MS


@dataclass(frozen=True, slots=True)
class View:
    """All gates at one moment."""

    standing: tuple[Seen, ...] = ()
    broken: tuple[Seen, ...] = ()

    @property
    def held(self) -> bool:
        """New ranges have to wait (S2)."""
        return bool(self.standing)

    @property
    def closed(self) -> bool:
        """Inserts have to wait (S1)."""
        return any(one.state == "closed" for one in self.standing)


def staging_name(gate_id: str, table: str) -> str:
    return f"rebuild_{gate_id}_{table}"


def look(client: Client, engines: Engines) -> View:
    """The gates that stand; those of holders that died are broken here and now."""
    rows = client.execute(
        "SELECT name, comment, toUnixTimestamp64Milli(now64(3)) FROM system.tables"
        " WHERE database = %(database)s AND startsWith(name, 'rebuild_')",
        {"database": engines.database},
    )
    standing, broken = [], []
    for name, comment, now_ms in rows:
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        seen = _read(found[1], comment)
        if seen.is_stale(now_ms):
            remove(client, engines, seen.gate_id)
            broken.append(seen)
        else:
            standing.append(seen)
    return View(tuple(standing), tuple(broken))


def remove(client: Client, engines: Engines, gate_id: str) -> None:
    """The staging tables, then the gate (B1); what is gone already does no harm."""
    _drop(client, engines, _names(client, engines, staging_name(gate_id, "")))
    _drop(client, engines, [f"rebuild_{gate_id}"])


def clear(client: Client, engines: Engines) -> None:
    """Every gate with its staging tables, then those without a gate: for whoever holds the lock of repairs."""
    # Gates first: the staging tables of a gate that is seen are there already (R1).
    for name in _names(client, engines):
        if found := _NAME.fullmatch(name):
            remove(client, engines, found[1])
    _drop(client, engines, _names(client, engines))


class Gate:
    """A rebuild's own. Not thread-safe."""

    def __init__(self, client: Client, engines: Engines, gate_id: str, again: str) -> None:
        self._client = client
        self._engines = engines
        self._table = f"{engines.database}.rebuild_{gate_id}"
        self._again = again
        self._state: State = "closing"

    def put_up(self) -> None:
        sql = f"CREATE TABLE {self._table} {self._engines.on_cluster} (held UInt8) ENGINE = Memory COMMENT %(comment)s"
        self._client.execute(sql, {"comment": self._comment()})

    def change(self, state: State) -> bool:
        """False: somebody broke it."""
        self._state = state
        return self.touch()

    def touch(self) -> bool:
        """Say that the holder is alive; False: somebody broke it."""
        sql = f"ALTER TABLE {self._table} {self._engines.on_cluster} MODIFY COMMENT %(comment)s"
        try:
            self._client.execute(sql, {"comment": self._comment()})
        except ServerException as cause:
            if cause.code == UNKNOWN_TABLE:
                return False
            raise
        return True

    def _comment(self) -> str:
        now_ms = int(self._client.execute("SELECT toUnixTimestamp64Milli(now64(3))")[0][0])
        return json.dumps({"state": self._state, "again": self._again, "touched_ms": now_ms}, separators=(",", ":"))


def _read(gate_id: str, comment: str) -> Seen:
    body = json.loads(comment)
    return Seen(
        gate_id, "closed" if body["state"] == "closed" else "closing", str(body["again"]), int(body["touched_ms"])
    )


def _names(client: Client, engines: Engines, start: str = "rebuild_") -> list[str]:
    rows = client.execute(
        "SELECT name FROM system.tables WHERE database = %(database)s AND startsWith(name, %(start)s)",
        {"database": engines.database, "start": start},
    )
    return [str(name) for (name,) in rows]


def _drop(client: Client, engines: Engines, names: Sequence[str]) -> None:
    for name in names:
        client.execute(f"DROP TABLE IF EXISTS {engines.database}.{name} {engines.on_cluster} SYNC")
