"""A lock against two migrators: a table that only one can create. Its comment says whose it is and when it was last held.

Rule: the holder touches it before each statement; one that was not touched for STALE_MS belongs to a migrator that died and
is taken over. Statements may be run twice (IF NOT EXISTS), so that even a holder that was only slow does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from analytics.client import TABLE_EXISTS, UNKNOWN_TABLE
from core.errors import APIError

NAME = "migration_lock"
STALE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds it."""

    owner: str
    touched_ms: int

    def is_stale(self, now_ms: int) -> bool:
        return now_ms - self.touched_ms > STALE_MS


class Lock:
    """`owner` names this migrator, unlike any other; times are the server's."""

    def __init__(self, client: Client, database: str, owner: str, on_cluster: str = "") -> None:
        self._client = client
        self._database = database
        self._table = f"{database}.{NAME}"
        self._owner = owner
        self._on_cluster = on_cluster

    def take(self, wait: Callable[[], bool]) -> None:
        """`wait` pauses and says whether to go on waiting; APIError names the holder when it does not."""
        while not self._create():
            held = self.holder()
            if held is not None and held.is_stale(self._now_ms()):
                self._drop()
            elif not wait():
                by = "somebody else" if held is None else held.owner
                raise APIError("api.conflict", f"another migration is running, by {by}")

    def touch(self) -> None:
        """Say that the holder is alive; APIError when somebody else has taken it over."""
        held = self.holder()
        if held is None or held.owner != self._owner:
            raise APIError(
                "api.conflict", "the migration was taken over by another migrator: it stood still for too long"
            )
        self._client.execute(f"ALTER TABLE {self._table} {self._on_cluster} MODIFY COMMENT {self._comment()}")

    def release(self) -> None:
        held = self.holder()
        if held is not None and held.owner == self._owner:
            self._drop()

    def holder(self) -> Held | None:
        rows = self._client.execute(
            "SELECT comment FROM system.tables WHERE database = %(database)s AND name = %(name)s",
            {"database": self._database, "name": NAME},
        )
        if not rows:
            return None
        body = json.loads(rows[0][0])
        return Held(str(body["owner"]), int(body["touched_ms"]))

    def _create(self) -> bool:
        sql = f"CREATE TABLE {self._table} {self._on_cluster} (held UInt8) ENGINE = Memory COMMENT {self._comment()}"
        try:
            self._client.execute(sql)
        except ServerException as cause:
            if cause.code == TABLE_EXISTS:
                return False
            raise
        return True

    def _drop(self) -> None:
        try:
            self._client.execute(f"DROP TABLE {self._table} {self._on_cluster}")
        except ServerException as cause:
            if cause.code != UNKNOWN_TABLE:
                raise

    def _comment(self) -> str:
        text = json.dumps({"owner": self._owner, "touched_ms": self._now_ms()}, separators=(",", ":"))
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def _now_ms(self) -> int:
        return int(self._client.execute("SELECT toUnixTimestamp64Milli(now64(3))")[0][0])
