"""`wharf bench queries`: every named query on millions of events, as people ask them: over its own period, over everything,
for all instances and for the busiest one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

from clickhouse_driver import Client

from analytics.client import connected
from analytics.queries import run as runner
from analytics.queries.named import Query, queries
from compose.bench.processes import machine
from compose.bench.report import Report, Target
from compose.bench.stage import CLICKHOUSE, Stage
from compose.bench.watch import Tell

NAME = "queries"
GOAL_MS = 1000.0
INSTANCES, CONTACTS, DAYS = 40, 50_000, 60
DAY_MS, LATEST_MS = 86_400_000, 2 * 3_600_000
# What becomes of a command and the message that goes with it (history.sql), a little less.
EVENTS_PER_COMMAND = 8.1
CHUNK = 50_000
SETTLE_S = 300.0
# What one column of every row costs to read: the floor of a query that has no index or rollup to help it.
SCAN = "SELECT count() FROM events WHERE NOT ignore(event_id, ts, instance, kind)"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    events: int = 5_000_000
    repeat: int = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A query as somebody asks it."""

    label: str
    given: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Timing:
    """`cpu_ms` is ClickHouse's for one time: a busy machine changes it less."""

    query: str
    case: str
    rows: int
    ms: tuple[float, ...]
    cpu_ms: float

    @property
    def median(self) -> float:
        return statistics.median(self.ms)


def run(options: Options, tell: Tell) -> Report:
    where = machine()
    with Stage(tell, only=("clickhouse-schema",)) as stage:
        with connected(stage.settings.clickhouse) as client:
            began = time.monotonic()
            fill(client, options.events, tell)
            filled_s = time.monotonic() - began
            merges = "SELECT count() = 0 FROM system.merges"
            stage.wait_until(lambda: client.execute(merges)[0][0], SETTLE_S, "ClickHouse is done with its merges")
            facts = describe(client)
            known = samples(client)
            _, scan = timed(lambda: client.execute(SCAN), options.repeat)
        facts |= {"filled_s": filled_s, "clickhouse_mb": stage.rss_mb(CLICKHOUSE)}
        timings = []
        for query in queries().values():
            for case in cases(query, known):
                timings.append(ask(stage, query, case, options.repeat))
                last = timings[-1]
                tell(f"{last.query}, {last.case}: {last.median:.0f} ms, at most {max(last.ms):.0f} ({last.rows} rows)")
    return report(where, facts, statistics.median(scan), timings)


def report(where: dict[str, object], facts: Mapping[str, Any], scan_ms: float, timings: Sequence[Timing]) -> Report:
    """A query's figure is that of its slowest case."""
    slowest: dict[str, Timing] = {}
    for timing in timings:
        if timing.query not in slowest or timing.median > slowest[timing.query].median:
            slowest[timing.query] = timing
    figures: dict[str, Any] = {**facts, "bare_scan_ms": scan_ms}
    for name, timing in slowest.items():
        figures |= {
            f"{name}_ms": timing.median,
            f"{name}_max_ms": max(max(each.ms) for each in timings if each.query == name),
            f"{name}_cpu_ms": timing.cpu_ms,
            f"{name}_slowest_case": timing.case,
            f"{name}_to_scan_ratio": timing.median / scan_ms,
        }
    figures |= {f"{each.query}_ms_{each.case}": each.median for each in timings}
    targets = [Target(f"{name}_ms", GOAL_MS, timing.median) for name, timing in slowest.items()]
    return Report(NAME, where, figures, targets)


def fill(client: Client, events: int, tell: Tell) -> None:
    """Events of the last weeks, and what the sink would have noted: a batch of a partition each two seconds."""
    sql = files("compose.bench").joinpath("history.sql").read_text(encoding="utf-8")
    sql = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    commands = int(events / EVENTS_PER_COMMAND) + 1
    fixed = {
        "instances": INSTANCES,
        "contacts": CONTACTS,
        "days": DAYS,
        "commands": commands,
        "start_ms": time.time_ns() // 1_000_000 - DAYS * DAY_MS - LATEST_MS,
    }
    for first in range(0, commands, CHUNK):
        part = {"first": first, "count": min(CHUNK, commands - first)}
        params = {f"param_{name}": str(value) for name, value in (fixed | part).items()}
        client.execute(sql, settings=params)
        [(made,)] = client.execute("SELECT count() FROM events")
        tell(f"generated {made}/{events}")
    client.execute(
        "INSERT INTO batches (_topic, _partition, first, last, records, events, duplicates, poison) "
        "SELECT _topic, _partition, min(_offset), max(_offset), count() AS n, n, 0, 0 FROM events "
        "GROUP BY _topic, _partition, intDiv(toUnixTimestamp(ts), 2)"
    )


def describe(client: Client) -> dict[str, Any]:
    events = client.execute("SELECT count() FROM events")[0][0]
    size = client.execute("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()")
    raw = client.execute(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'events'"
    )
    batches = client.execute("SELECT count() FROM batches")[0][0]
    return {
        "events": events,
        "batches": batches,
        "bytes_per_event": size[0][0] / events,
        "bytes_per_event_raw": raw[0][0] / events,
    }


def samples(client: Client) -> dict[str, str]:
    """What somebody would ask about: the busiest instance and contact, a rare contact, a message that was read."""
    instance = client.execute("SELECT instance FROM volume_hour GROUP BY instance ORDER BY sum(events) DESC LIMIT 1")
    contacts = "SELECT contact FROM contact_events GROUP BY contact ORDER BY count()"
    message = "SELECT message_id FROM messages WHERE read IS NOT NULL LIMIT 1"
    return {
        "instance": instance[0][0],
        "busiest": client.execute(f"{contacts} DESC LIMIT 1")[0][0],
        "rare": client.execute(f"{contacts} LIMIT 1")[0][0],
        "message": client.execute(message)[0][0],
    }


def cases(query: Query, known: Mapping[str, str]) -> Iterable[Case]:
    names = {param.name for param in query.params}
    if "message" in names:
        yield Case("any_instance", {"message": known["message"]})
    elif "contact" in names:
        yield Case("busiest_contact", {"contact": known["busiest"]})
        yield Case("rare_contact", {"contact": known["rare"]})
    else:
        yield Case("default", {})
        if "from" in names:
            whole = {"from": f"{DAYS + 1}d"}
            yield Case("whole", whole)
            yield Case("whole_one_instance", whole | {"instance": known["instance"]})
        if "campaign" in names:
            yield Case("one_campaign", {"campaign": "campaign-1"})


def ask(stage: Stage, query: Query, case: Case, repeat: int) -> Timing:
    """As `wharf query` does it, connection included, without the cache of results."""
    values = query.values(case.given, time.time_ns() // 1_000_000)
    before = stage.usage(CLICKHOUSE)
    answer, ms = timed(lambda: runner.run(stage.settings.clickhouse, query.sql, values), repeat)
    cpu_ms = stage.usage(CLICKHOUSE).since(before).ms_per(repeat, CLICKHOUSE)
    return Timing(query.name, case.label, len(answer.rows), ms, cpu_ms)


def timed(act: Callable[[], T], repeat: int) -> tuple[T, tuple[float, ...]]:
    """The last answer, and the milliseconds of each."""
    ms = []
    for _ in range(repeat):
        began = time.perf_counter()
        answer = act()
        ms.append((time.perf_counter() - began) * 1000)
    return answer, tuple(ms)
