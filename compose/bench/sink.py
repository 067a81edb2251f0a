"""`wharf bench sink`: a log full of events into ClickHouse; what a row costs the sink, and what a loop that promises nothing
would take for the same."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from clickhouse_driver import Client
from confluent_kafka import KafkaError, Message

from analytics.client import connected
from analytics.sink.ledger import Range
from analytics.sink.rows import TOPICS
from compose.bench import loops
from compose.bench.lab import Lab
from compose.bench.loops import Loop, Parts, Work
from compose.bench.processes import machine
from compose.bench.report import Report, Target
from compose.bench.stage import CLICKHOUSE, KAFKA, Usage
from compose.bench.traffic import MINUTE_MS, Traffic
from compose.bench.watch import BenchError, Tell
from core.ids import partition_for
from core.kafka.dump import dump
from core.kafka.processor import InRecord
from core.settings import ClickHouseSettings
from schemas.codec import open_codec

NAME = "sink"
GOAL_PERCENT = 80.0
SEED = 6
INSTANCES, CONTACTS = 40, 5000
# A conversation's step twice a second is about eight events: 200,000 are seven hours.
STEP_MS = 500
EVENTS_PER_STEP = 4
POLL_S = 0.1
JOIN_S, SILENCE_S, FLUSH_S = 90.0, 120.0, 60.0
_TELL_EACH = 50_000


@dataclass(frozen=True, slots=True)
class Options:
    """Each topic has so many partitions; at last 2, 4, 8 … sinks share them, up to `sinks`."""

    events: int = 200_000
    repeat: int = 3
    sinks: int = 4
    partitions: int = 8


@dataclass(frozen=True, slots=True)
class Drain:
    """So many sinks from their start until every record was in. `usage` and `rows` are of the time when all of them worked:
    from their first rows, once all had partitions, to the last row."""

    all_s: float
    rows: int
    usage: Usage
    names: tuple[str, ...]
    memory_mb: float

    @property
    def rate(self) -> float:
        return self.rows / self.usage.at

    @property
    def cpu_ms(self) -> float:
        return self.usage.ms_per(self.rows, *self.names)

    @property
    def rows_per_cpu_s(self) -> float:
        """End to end: sinks and ClickHouse together."""
        return 1000 / self.usage.ms_per(self.rows, *self.names, CLICKHOUSE)


@dataclass(frozen=True, slots=True)
class Round:
    """One repetition: a sink, and the loops over the batches it made."""

    sink: Drain
    batches: int
    loop: Loop
    ready: Loop

    @property
    def percent(self) -> float:
        return 100 * self.sink.rate / self.loop.rate


def run(options: Options, tell: Tell) -> Report:
    where = machine()
    with Lab(tell, options.partitions) as lab:
        topics = fill(lab, options.events)
        log = {(record.topic, record.partition, record.offset): record for record in read(lab)}
        tell(f"{len(log)} records in the log")
        rounds = []
        for number in range(options.repeat):
            rounds.append(one_round(lab, options.events, log, number))
            last = rounds[-1]
            tell(f"sink {last.sink.rate:.0f} rows/s, loop {last.loop.rate:.0f}, ready rows {last.ready.rate:.0f}")
        with lab.database("parts") as database:
            spent = loops.parts(database, open_codec(lab.settings), in_thousands(log.values()))
        shared: dict[int, Drain] = {}
        count = 2
        while count <= options.sinks:
            with lab.database(f"shared_{count}") as database:
                shared[count] = drain(lab, count, options.events, database)
            tell(f"{count} sinks: {shared[count].rate:.0f} rows/s")
            count *= 2
    return report(where, options, topics, rounds, spent, shared)


def report(
    where: dict[str, object],
    options: Options,
    topics: Counter[str],
    rounds: Sequence[Round],
    spent: Parts,
    shared: dict[int, Drain],
) -> Report:
    percent = statistics.median(each.percent for each in rounds)
    sinks = [each.sink for each in rounds]
    figures = {
        "events": options.events,
        "partitions": options.partitions,
        **{f"events_{topic.removeprefix('events.')}": topics[topic] for topic in TOPICS},
        "batches": statistics.median(each.batches for each in rounds),
        "sink_rows_per_s": statistics.median(each.rate for each in sinks),
        "sink_rows_per_s_runs": [each.rate for each in sinks],
        "sink_start_to_all_rows_s": statistics.median(each.all_s for each in sinks),
        "sink_cpu_ms_per_row": statistics.median(each.cpu_ms for each in sinks),
        "clickhouse_cpu_ms_per_row": statistics.median(each.usage.ms_per(each.rows, CLICKHOUSE) for each in sinks),
        "kafka_cpu_ms_per_row": statistics.median(each.usage.ms_per(each.rows, KAFKA) for each in sinks),
        "rows_per_s_per_core": statistics.median(each.rows_per_cpu_s for each in sinks),
        "sink_memory_mb": max(each.memory_mb for each in sinks),
        "loop_rows_per_s": statistics.median(each.loop.rate for each in rounds),
        "loop_cpu_ms_per_row": statistics.median(1000 * each.loop.cpu_s / each.loop.rows for each in rounds),
        "ready_rows_per_s": statistics.median(each.ready.rate for each in rounds),
        "sink_to_loop_percent": percent,
        "sink_to_loop_percent_runs": [each.percent for each in rounds],
        "sink_to_ready_percent": statistics.median(100 * each.sink.rate / each.ready.rate for each in rounds),
        **{f"us_per_row_{part}": spent.us_per_row(part) for part in loops.PARTS},
        **{f"rows_per_s_of_{count}_sinks": each.rate for count, each in shared.items()},
        **{f"rows_per_s_per_core_of_{count}_sinks": each.rows_per_cpu_s for count, each in shared.items()},
    }
    return Report(NAME, where, figures, [Target("sink_to_loop_percent", GOAL_PERCENT, percent, at_least=True)])


def fill(lab: Lab, count: int) -> Counter[str]:
    """Writes the log; how many records each topic got."""
    codec = open_codec(lab.settings)
    producer = lab.clients.producer()
    prefix, partitions = lab.settings.kafka.prefix, lab.settings.kafka.partitions
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    start_ms = time.time_ns() // 1_000_000 - count // EVENTS_PER_STEP * STEP_MS - 60 * MINUTE_MS
    made = Traffic(SEED, instances=INSTANCES, contacts=CONTACTS, start_ms=start_ms, step_ms=STEP_MS)
    topics: Counter[str] = Counter()
    for number, each in enumerate(made.take(count), 1):
        producer.produce(
            prefix + each.topic,
            codec.encode(each.topic, each.record),
            each.instance.encode(),
            partition_for(each.instance, partitions),
            headers=list(each.headers),
            on_delivery=delivered,
        )
        topics[each.topic] += 1
        if number % 1000 == 0:
            producer.poll(0)
        if number % _TELL_EACH == 0:
            producer.flush(FLUSH_S)
            lab.tell(f"written {number}/{count}")
    if producer.flush(FLUSH_S) or failed:
        raise BenchError(f"Kafka did not take the records: {failed[0].str() if failed else 'no answer'}")
    return topics


def read(lab: Lab) -> Iterable[InRecord]:
    """The log in order; headers would only take memory here."""
    return (replace(record, headers=()) for record in dump(lab.clients, TOPICS))


def one_round(lab: Lab, events: int, log: dict[tuple[str, int, int], InRecord], number: int) -> Round:
    codec = open_codec(lab.settings)
    with lab.database(f"sink_{number}") as database:
        drained = drain(lab, 1, events, database)
        ranges = batches_of(database)
    works = [Work(each, taken) for each in ranges if (taken := tuple(_records(log, each)))]
    with lab.database(f"loop_{number}") as database:
        loop = loops.decode_and_insert(database, codec, works)
    with lab.database(f"ready_{number}") as database:
        ready = loops.insert_ready(database, codec, works)
    return Round(drained, len(works), loop, ready)


def drain(lab: Lab, count: int, events: int, database: ClickHouseSettings) -> Drain:
    began = time.monotonic()
    with connected(database) as client, lab.sinks(count, database) as names:
        lab.wait_until(lambda: lab.all_joined(names), JOIN_S, "the sinks have their partitions")
        lab.wait_until(lambda: _inserted(client), SILENCE_S, "the first rows")
        first, before = _inserted(client), lab.usage(*names, CLICKHOUSE, KAFKA)
        last, moved = first, time.monotonic()
        while _noted(client) < events:
            time.sleep(POLL_S)
            now = _inserted(client)
            if now > last:
                last, moved = now, time.monotonic()
            elif time.monotonic() - moved > SILENCE_S:
                raise BenchError(f"no rows came for {SILENCE_S:.0f} s: {last}/{events}")
        usage = lab.usage(*names, CLICKHOUSE, KAFKA).since(before)
        rows = _inserted(client) - first
        if not rows:
            raise BenchError(f"{events} events are too few: all of them came at once")
        return Drain(time.monotonic() - began, rows, usage, tuple(names), lab.rss_mb(*names))


def batches_of(database: ClickHouseSettings) -> list[Range]:
    """In the order in which the sink made them."""
    with connected(database) as client:
        rows = client.execute(
            "SELECT _topic, _partition, first, last FROM batches FINAL ORDER BY ingested_at, _topic, _partition, first"
        )
    return [Range(*row) for row in rows]


def in_thousands(records: Iterable[InRecord], size: int = 5000) -> list[Work]:
    """Batches of one size, whatever the sink's were."""
    by_source: dict[tuple[str, int], list[InRecord]] = {}
    for record in records:
        by_source.setdefault((record.topic, record.partition), []).append(record)
    return [
        Work(Range(*source, part[0].offset, part[-1].offset), tuple(part))
        for source, found in sorted(by_source.items())
        for at in range(0, len(found), size)
        for part in [found[at : at + size]]
    ]


def _records(log: dict[tuple[str, int, int], InRecord], batch: Range) -> Iterable[InRecord]:
    for offset in range(batch.first, batch.last + 1):
        record = log.get((batch.topic, batch.partition, offset))
        if record is not None:
            yield record


def _inserted(client: Client) -> int:
    return int(client.execute("SELECT count() FROM events")[0][0])


def _noted(client: Client) -> int:
    """Records of batches that are through, all but their last commit."""
    return int(client.execute("SELECT sum(records) FROM batches")[0][0])
