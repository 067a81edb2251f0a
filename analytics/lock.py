"""A lock that one process holds at a time: a table whose only column is named after its holder; the column's comment tells who
that is and when it was last touched.

Rules:
- L1: who takes, touches or frees it does so by one ALTER that names the column he expects (`held_` and a token used once, or
  `free`); ClickHouse refuses it as a whole where there is no such column. So nothing is done to a lock that is another's by then.
- L2: the holder touches it more often than each `stale_ms`, or before each statement that may be run twice; one that was not
  touched for so long is of a holder that died or stood still, and is taken over.
- L3: a holder that must do nothing once it was taken over says what makes that so: `is_mine`, once False, stays False, since
  tokens do not come back. (analytics.repairs does; a migration may be run twice.)
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from analytics.client import UNKNOWN_TABLE
from analytics.schema.engines import Engines
from core.errors import APIError

_NO_COLUMN = 10
_FREE = "free"


@dataclass(frozen=True, slots=True)
class Kind:
    """`table` is its name, `what` its holder does, in words."""

    table: str
    what: str
    stale_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds it; `column` is the holder's."""

    owner: str
    touched_ms: int
    column: str

    def is_stale(self, now_ms: int, stale_ms: int) -> bool:
        return now_ms - self.touched_ms > stale_ms


class Lock:
    """One holder's view of it. `owner` is for people; times are the server's. Not thread-safe."""

    def __init__(self, client: Client, engines: Engines, kind: Kind, owner: str) -> None:
        self._client = client
        self._engines = engines
        self._kind = kind
        self._table = f"{engines.database}.{kind.table}"
        self._owner = owner
        self._column = f"held_{secrets.token_hex(8)}"

    def take(self, wait: Callable[[Held], bool]) -> None:
        """`wait` pauses and says whether to go on waiting; APIError names the holder when it does not."""
        self._client.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} {self._engines.on_cluster} ({_FREE} UInt8) ENGINE = Memory"
        )
        while True:
            held = self.holder()
            # It may be its own: of a server that did as it was told and died before it said so.
            own = held is not None and held.column == self._column
            if held is None or own or held.is_stale(self._now_ms(), self._kind.stale_ms):
                if self._alter(_FREE if held is None else held.column, self._column):
                    return
            elif not wait(held):
                raise APIError("api.conflict", f"another {self._kind.what} is running: {held.owner}")

    def touch(self) -> bool:
        """Say that the holder is alive; False: somebody else has taken it over."""
        return self._alter(self._column, self._column)

    def is_mine(self) -> bool:
        held = self.holder()
        return held is not None and held.column == self._column

    def release(self) -> None:
        self._alter(self._column, _FREE)

    def holder(self) -> Held | None:
        rows = self._client.execute(
            "SELECT name, comment FROM system.columns WHERE database = %(database)s AND table = %(name)s",
            {"database": self._engines.database, "name": self._kind.table},
        )
        if not rows or rows[0][0] == _FREE:
            return None
        # Without a comment it is of a version that kept it elsewhere; that one's statements may be run twice.
        body = json.loads(rows[0][1] or '{"owner": "an older version", "touched_ms": 0}')
        return Held(str(body["owner"]), int(body["touched_ms"]), str(rows[0][0]))

    def taken_over(self) -> APIError:
        text = f"the {self._kind.what} was taken over by another: it stood still for too long; run it again"
        return APIError("api.conflict", text)

    def _alter(self, expected: str, column: str) -> bool:
        """False where the column is not the expected one (L1)."""
        rename = "" if expected == column else f"RENAME COLUMN {expected} TO {column}, "
        comment = "''" if column == _FREE else self._comment()
        sql = f"ALTER TABLE {self._table} {self._engines.on_cluster} {rename}COMMENT COLUMN {column} {comment}"
        try:
            self._client.execute(sql)
        except ServerException as cause:
            if cause.code in (_NO_COLUMN, UNKNOWN_TABLE):
                return False
            raise
        return True

    def _comment(self) -> str:
        text = json.dumps({"owner": self._owner, "touched_ms": self._now_ms()}, separators=(",", ":"))
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def _now_ms(self) -> int:
        return int(self._client.execute("SELECT toUnixTimestamp64Milli(now64(3))")[0][0])
