"""Is every event of the log in ClickHouse, each once? Read from both sides without the sink's own code; then a query is asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
SHOWN = "funnel"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Event ids by topic: only in the log, only in ClickHouse, there more than once."""

    events: int
    missing: Mapping[str, int]
    surplus: Mapping[str, int]
    doubled: int

    @property
    def clean(self) -> bool:
        return not self.missing and not self.surplus and not self.doubled

    def lines(self) -> list[str]:
        out = [f"in ClickHouse: {self.events} events, compared with the log by id"]
        out += [f"DIFFERENCE in ClickHouse: {count} of {topic} missing" for topic, count in self.missing.items()]
        out += [f"DIFFERENCE in ClickHouse: {count} of {topic} not in the log" for topic, count in self.surplus.items()]
        if self.doubled:
            out.append(f"DIFFERENCE in ClickHouse: {self.doubled} events more than once")
        return out


def settle(settings: Settings) -> Comparison:
    """Look until nothing differs, or the time is up: the sink inserts some seconds after the log."""
    deadline = time.monotonic() + SETTLE_SECONDS
    dump = Dump(settings)
    while True:
        found = compare(_in_log(dump), _in_clickhouse(settings.clickhouse))
        if found.clean or time.monotonic() > deadline:
            return found
        time.sleep(LOOK_SECONDS)


def compare(log: Mapping[str, set[str]], stored: Mapping[str, Counter[str]]) -> Comparison:
    """By topic; the same event twice in the log is one."""
    missing = {topic: len(gone) for topic in log if (gone := log[topic] - stored.get(topic, Counter()).keys())}
    surplus = {topic: len(more) for topic, rows in stored.items() if (more := rows.keys() - log.get(topic, set()))}
    doubled = sum(count - 1 for rows in stored.values() for count in rows.values())
    return Comparison(sum(len(rows) for rows in stored.values()), missing, surplus, doubled)


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


def _in_log(dump: Dump) -> dict[str, set[str]]:
    out = {}
    for topic in TOPICS:
        out[topic] = {
            ids.result_event_id(record["result_id"], record["revision"], record["state"])
            if topic == "results"
            else record["envelope"]["event_id"]
            for record in dump.records(topic)
        }
    return out


def _in_clickhouse(settings: ClickHouseSettings) -> dict[str, Counter[str]]:
    with connected(settings) as client:
        rows = client.execute("SELECT _topic, event_id FROM events FINAL")
    out: dict[str, Counter[str]] = {}
    for topic, event_id in rows:
        out.setdefault(topic, Counter())[str(event_id)] += 1
    return out
