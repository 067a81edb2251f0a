"""Is every event of the log in ClickHouse, each once, and do all rollups say the same? Read from both sides without the
sink's own code, topic by topic, partition by partition and hour by hour.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_driver import Client

from analytics import agreement
from analytics.client import connected
from analytics.queries.named import queries
from analytics.queries.run import Answer, run
from compose.demo.dump import Dump
from core import ids
from core.settings import ClickHouseSettings, Settings

TOPICS = (
    "events.message",
    "events.status",
    "events.session",
    "events.chat",
    "events.contact",
    "events.limit",
    "results",
)
SETTLE_SECONDS = 60.0
LOOK_SECONDS = 1.0
LOOKS = 3
SHOWN = "funnel"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Partition and hour since the epoch.
Group = tuple[int, int]
Place = tuple[str, ...]


@dataclass(slots=True)
class Comparison:
    """What differs: (`topic[partition] hour`, event id), and for rollups what analytics.agreement says."""

    events: int = 0
    missing: list[Place] = field(default_factory=list)
    surplus: list[Place] = field(default_factory=list)
    doubled: list[Place] = field(default_factory=list)
    rollups_short: list[Place] = field(default_factory=list)
    rollups_over: list[Place] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.surplus or self.doubled or self.rollups_short or self.rollups_over)

    def add(self, topic: str, log: Mapping[Group, set[str]], stored: Mapping[Group, Counter[str]]) -> None:
        """By topic; the same event twice in the log is one."""
        for group in sorted(log.keys() | stored.keys()):
            wanted, there = log.get(group, set()), stored.get(group, Counter())
            where = f"{topic}[{group[0]}] hour {group[1]}"
            self.events += there.total()
            self.missing += [(where, each) for each in sorted(wanted - there.keys())]
            self.surplus += [(where, each) for each in sorted(there.keys() - wanted)]
            self.doubled += [(where, each) for each, count in sorted(there.items()) if count > 1]

    def lines(self) -> list[str]:
        out = [f"in ClickHouse: {self.events} events, compared with the log by id, partition and hour"]
        for what, places in (
            ("missing", self.missing),
            ("not in the log", self.surplus),
            ("more than once", self.doubled),
            ("rollup rows too low", self.rollups_short),
            ("rollup rows too high", self.rollups_over),
        ):
            if places:
                out.append(f"DIFFERENCE in ClickHouse: {len(places)} {what}, first: {' '.join(places[0])}")
        return out


def settle(settings: Settings, seconds: float = SETTLE_SECONDS) -> Comparison:
    """Look until nothing differs, or the time is up: the sink inserts some seconds after the log.

    At least so often as LOOKS: of a long log one look may take as long as all of the time.
    """
    deadline = time.monotonic() + seconds
    dump = Dump(settings)
    for number in itertools.count(1):
        found = look(dump, settings.clickhouse)
        if found.clean or (number >= LOOKS and time.monotonic() > deadline):
            break
        time.sleep(LOOK_SECONDS)
    return found


def look(dump: Dump, settings: ClickHouseSettings) -> Comparison:
    out = Comparison()
    with connected(settings) as client:
        for topic in TOPICS:
            out.add(topic, _in_log(dump, topic), _in_clickhouse(client, topic))
        for one in agreement.differences(client):
            (out.rollups_over if one.off > 0 else out.rollups_short).append(one.place)
    return out


def show_query(settings: ClickHouseSettings, tell: Callable[[str], None]) -> None:
    """One of the named queries and its answer."""
    named = queries()[SHOWN]
    answer = run(settings, named.sql, named.values({}, time.time_ns() // 1_000_000))
    tell(f"wharf query {SHOWN}")
    for line in _table(answer):
        tell(f"  {line}")


def _table(answer: Answer) -> list[str]:
    rows = [answer.columns, *([str(cell) for cell in row] for row in answer.rows)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(answer.columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _in_log(dump: Dump, topic: str) -> dict[Group, set[str]]:
    out: dict[Group, set[str]] = defaultdict(set)
    for entry in dump.entries(topic):
        hour, event_id = _identity(topic, entry.record)
        out[entry.partition, hour].add(event_id)
    return out


def _identity(topic: str, record: Mapping[str, Any]) -> tuple[int, str]:
    """The hour in which it happened, and what makes it one event."""
    if topic == "results":
        event_id = ids.result_event_id(record["result_id"], record["revision"], record["state"])
        return _hour(record["occurred_at"]), event_id
    return _hour(record["envelope"]["occurred_at"]), record["envelope"]["event_id"]


def _hour(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(hours=1)


def _in_clickhouse(client: Client, topic: str) -> dict[Group, Counter[str]]:
    sql = (
        "SELECT _partition, intDiv(toUnixTimestamp64Milli(ts), 3600000), toString(event_id) FROM events FINAL"
        " WHERE _topic = %(topic)s"
    )
    out: dict[Group, Counter[str]] = defaultdict(Counter)
    for partition, hour, event_id in client.execute_iter(sql, {"topic": topic}):
        out[partition, hour][event_id] += 1
    return out
