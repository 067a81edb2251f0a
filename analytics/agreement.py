"""Do the rollups say what `events FINAL` says? Each is compared with the raw table in SQL of its own, not in that of its view.

Both sides give rows of places and numbers; what a place has more in the rollup than in the raw table is `off`. A row that stands
for one thing (a message, a day's contacts) counts 1 with all that it says, so that one that says something else is one too many
and one too few.
"""

from __future__ import annotations

from dataclasses import dataclass

from clickhouse_driver import Client

_PROBLEMS = (
    "family = 'limit' OR kind IN ('status.failed', 'message.undecryptable', 'result.delayed', 'result.failed',"
    " 'result.rejected', 'result.expired', 'result.unknown')"
)
_OUTGOING = (
    "direction = 'out' AND message_id != '' AND NOT from_self"
    " AND (kind = 'message.new' OR family = 'status' OR (kind = 'result.sent' AND content_type = 'send'))"
)
_OF_EVENTS = "toUnixTimestamp(toStartOfHour(ts)) AS h"
_OF_ROLLUP = "toUnixTimestamp(hour) AS h"


@dataclass(frozen=True, slots=True)
class Difference:
    """`place`: the rollup and what its row stands for; `off`: what it has more than there are events."""

    place: tuple[str, ...]
    off: int


@dataclass(frozen=True, slots=True)
class _Check:
    """`columns` name the place in both; `fed` and `made` select them and a number `n`: from the rollup, of the raw table."""

    rollup: str
    columns: str
    fed: str
    made: str

    @property
    def sql(self) -> str:
        places = ", ".join(f"ifNull(toString({name.strip()}), '')" for name in self.columns.split(","))
        return (
            f"SELECT [{places}], sum(n) AS off FROM ("
            f"SELECT {self.columns}, toInt64(n) AS n FROM ({self.fed}) UNION ALL "
            f"SELECT {self.columns}, -toInt64(n) AS n FROM ({self.made})"
            f") GROUP BY {self.columns} HAVING off != 0 ORDER BY {self.columns}"
        )


_CHECKS = (
    _Check(
        "volume_hour",
        "instance, h, kind",
        f"SELECT instance, {_OF_ROLLUP}, kind, events AS n FROM volume_hour",
        f"SELECT instance, {_OF_EVENTS}, kind, 1 AS n FROM events FINAL",
    ),
    _Check(
        "latency_hour",
        "instance, h, family",
        f"SELECT instance, {_OF_ROLLUP}, family, events AS n FROM latency_hour",
        "SELECT instance, toUnixTimestamp(toStartOfHour(received_at)) AS h, family, 1 AS n FROM events FINAL"
        " WHERE origin = 'live' AND family IN ('message', 'status')",
    ),
    _Check(
        "problems_hour",
        "instance, h, kind, error_code",
        f"SELECT instance, {_OF_ROLLUP}, kind, error_code, events AS n FROM problems_hour",
        f"SELECT instance, {_OF_EVENTS}, kind, error_code, 1 AS n FROM events FINAL WHERE {_PROBLEMS}",
    ),
    _Check(
        "contacts_day",
        "instance, day, direction, contacts",
        "SELECT instance, day, direction, uniqCombined64Merge(15)(c.contacts) AS contacts, 1 AS n FROM contacts_day AS c"
        " GROUP BY instance, day, direction",
        "SELECT instance, toDate(ts) AS day, direction, uniqCombined64(15)(contact) AS contacts, 1 AS n FROM events FINAL"
        " WHERE family = 'message' AND contact != '' GROUP BY instance, day, direction",
    ),
    _Check(
        "messages",
        "instance, month, message_id, chat, sent, server_ack, delivered, read, failed",
        "SELECT instance, month, message_id, max(m.chat) AS chat, min(m.sent) AS sent, min(m.server_ack) AS server_ack,"
        " min(m.delivered) AS delivered, min(m.read) AS read, min(m.failed) AS failed, 1 AS n FROM messages AS m"
        " GROUP BY instance, month, message_id",
        "SELECT instance, toStartOfMonth(toDate(ts)) AS month, message_id, max(e.chat) AS chat,"
        " minOrNullIf(ts, kind IN ('message.new', 'result.sent')) AS sent,"
        " minOrNullIf(ts, kind = 'status.server_ack') AS server_ack,"
        " minOrNullIf(ts, kind IN ('status.delivered', 'status.read', 'status.played')) AS delivered,"
        " minOrNullIf(ts, kind IN ('status.read', 'status.played')) AS read,"
        f" minOrNullIf(ts, kind = 'status.failed') AS failed, 1 AS n FROM events AS e FINAL WHERE {_OUTGOING}"
        " GROUP BY instance, month, message_id",
    ),
    _Check(
        "contact_events",
        "instance, h, kind",
        f"SELECT instance, {_OF_EVENTS}, kind, 1 AS n FROM contact_events FINAL",
        f"SELECT instance, {_OF_EVENTS}, kind, 1 AS n FROM events FINAL WHERE contact != '' AND NOT from_self",
    ),
    _Check(
        "sessions",
        "instance, h, state",
        f"SELECT instance, {_OF_EVENTS}, state, 1 AS n FROM sessions FINAL",
        f"SELECT instance, {_OF_EVENTS}, substring(kind, 9) AS state, 1 AS n FROM events FINAL WHERE family = 'session'",
    ),
)
# Of every rollup.
COMPARED = tuple(check.rollup for check in _CHECKS)


def differences(client: Client) -> list[Difference]:
    """Of all rollups of the client's database; empty = they agree."""
    return [
        Difference((check.rollup, *place), int(off)) for check in _CHECKS for place, off in client.execute(check.sql)
    ]
