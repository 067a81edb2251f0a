"""What ClickHouse miscounted is right after `wharf clickhouse rebuild`, what it lost is back after `replay`, beside a running
sink and whatever dies. The truth is what the views made of the sink's own inserts before anything was damaged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import pytest
from confluent_kafka import TopicPartition

from analytics import agreement, gate
from analytics.client import connected
from analytics.queries.named import queries
from analytics.queries.run import run as ask
from analytics.rebuild import plan
from analytics.rebuild.hold import Hold
from analytics.rebuild.period import Period
from analytics.rebuild.rebuild import Rebuilder
from analytics.rebuild.rollups import rollups
from analytics.repairs import LOCK
from analytics.schema.engines import Engines
from analytics.sink.group import Standing, standings
from analytics.sink.ledger import Range
from analytics.sink.rows import TOPICS
from analytics.sink.sink import GROUP
from compose.cli.app import build
from core.errors import APIError
from core.faults import Faults, RebuildPoint
from core.settings import ClickHouseSettings
from tests.support.clickhouse import RunningClickHouse, migrated, query
from tests.support.events import BASE_MS, HOUR_MS
from tests.support.kafka import RunningKafka
from tests.support.sink import SECONDS, log_events, produce, wait_equal
from tests.support.streams import Process, Streams, running_streams
from tests.support.waiting import wait_until

SMALL = {"WHARF_SINK__BATCH_RECORDS": "40", "WHARF_SINK__BATCH_MS": "100", "WHARF_CLICKHOUSE__RETENTION_DAYS": "0"}
pytestmark = pytest.mark.timeout(900)
Row = tuple[Any, ...]

# Merged, each row as it counts.
TRUTH = {
    "volume_hour": "SELECT instance, hour, family, kind, direction, chat_kind, content_type, sum(events), sum(bytes)"
    " FROM volume_hour GROUP BY ALL",
    "latency_hour": "SELECT instance, hour, family, sum(events),"
    " arrayMap(x -> round(x), quantilesTDigestMerge(0.5, 0.9, 0.99)(milliseconds)) FROM latency_hour GROUP BY ALL",
    "contacts_day": "SELECT instance, day, direction, uniqCombined64Merge(15)(contacts) FROM contacts_day GROUP BY ALL",
    "problems_hour": "SELECT instance, hour, kind, error_code, sum(events), sum(wait_ms) FROM problems_hour GROUP BY ALL",
    "messages": "SELECT * FROM messages FINAL",
    "contact_events": "SELECT * FROM contact_events FINAL",
    "sessions": "SELECT * FROM sessions FINAL",
}
FIRST_HOUR = "2026-03-01T00:00:00+00:00"
EVERYTHING = Period.between(0)
# Of a rebuild; the two before them are a replay's.
POINTS = get_args(RebuildPoint)[2:]


class Damaged:
    """Topics that a sink has drained, what ClickHouse made of them, and the commands that put it right."""

    def __init__(self, streams: Streams, database: ClickHouseSettings) -> None:
        self.streams = streams
        self.database = database

    def sink(self, **env: str) -> Process:
        return self.streams.start_sink(**env)

    def drain(self) -> None:
        """A sink inserts what is new, and ends."""
        sink = self.sink()
        wait_equal(self.streams, self.database)
        sink.stop()

    def truth(self) -> dict[str, list[Row]]:
        # None has no order.
        return {name: sorted(query(self.database, sql), key=str) for name, sql in TRUTH.items()}

    def query(self, sql: str) -> list[Row]:
        return query(self.database, sql)

    def wharf(self, *words: str, **env: str) -> list[dict[str, Any]]:
        """The command without the start of a process; what it raises is what it would say."""
        out = io.StringIO()
        with mock.patch.dict(os.environ, {**self.streams.env, **env}), contextlib.redirect_stdout(out):
            build()(args=["clickhouse", *words, "--json"], standalone_mode=False)
        return [json.loads(line) for line in out.getvalue().splitlines()]

    def rebuild(self) -> None:
        """As the command does it, without its start."""
        settings = self.streams.settings.model_copy(update={"clickhouse": self.database})
        Rebuilder(settings, "wharf again", Faults(), lambda _text: None).run(plan.of_period(rollups(), EVERYTHING, 0))

    def dying(self, point: str, *words: str, nth: int = 1, by: str = "KILL") -> Process:
        faults = json.dumps({"crash": {"point": point, "nth": nth, "signal": by}})
        log = self.streams.folder / "wharf.log"
        process = Process("compose.cli", {**self.streams.env, "WHARF_TEST_FAULTS": faults}, log, "clickhouse", *words)
        self.streams.started.append(process)
        return process

    def looks_dead(self) -> None:
        """The lock of repairs and every gate seem untouched for long, so that nobody has to wait for that."""
        for (column,) in self.query(
            f"SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{LOCK.table}' AND name != 'free'"
        ):
            comment = json.dumps({"owner": "wharf again", "touched_ms": 1})
            self.query(f"ALTER TABLE {LOCK.table} COMMENT COLUMN {column} '{comment}'")
        for (name,) in self.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND match(name, '^rebuild_[0-9a-f]{8}$')"
        ):
            comment = json.dumps({"state": "closed", "again": "wharf again", "touched_ms": 1})
            self.query(f"ALTER TABLE {name} MODIFY COMMENT '{comment}'")

    def look(self) -> gate.View:
        with connected(self.database) as client:
            return gate.look(client, Engines(self.database.database))

    def leftovers(self) -> list[str]:
        rows = self.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'rebuild_')"
        )
        return [name for (name,) in rows]

    def damage(self) -> None:
        """Every rollup is wrong: rows are gone, doubled, or of nobody."""
        for sql in (
            "INSERT INTO volume_hour SELECT * FROM volume_hour SETTINGS insert_deduplicate = 0",
            "INSERT INTO latency_hour SELECT * FROM latency_hour SETTINGS insert_deduplicate = 0",
            "TRUNCATE TABLE problems_hour",
            "TRUNCATE TABLE messages",
            "TRUNCATE TABLE sessions",
            "INSERT INTO contact_events (instance, contact, ts) SELECT 'nobody', 'x', toDateTime64('2026-03-02', 3, 'UTC')",
            "INSERT INTO contacts_day SELECT 'nobody', '2026-03-02', 'in', uniqCombined64State(15)('x')",
        ):
            self.query(sql)


@pytest.fixture(scope="module")
def shared(
    kafka: RunningKafka, clickhouse: RunningClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Damaged]:
    name = f"rebuild_test_{secrets.token_hex(4)}"
    env = {**clickhouse.env(name), **SMALL, "WHARF_ALLOW_FAULTS": "1"}
    database = migrated(clickhouse, name)
    with running_streams(kafka, f"{name}.", tmp_path_factory.mktemp("rebuild"), **env) as streams:
        made = Damaged(streams, database)
        produce(streams, 60)
        made.drain()
        yield made


@pytest.fixture
def damaged(shared: Damaged) -> Iterator[Damaged]:
    yield shared
    assert shared.leftovers() == []
    for process in shared.streams.started:
        process.kill()


def test_damaged_rollups_are_right_after_a_rebuild(damaged: Damaged) -> None:
    truth = damaged.truth()
    assert all(truth.values())
    damaged.damage()
    wrong = damaged.truth()
    assert all(wrong[name] != truth[name] for name in truth)
    with connected(damaged.database) as client:
        seen = {one.place[0]: one.off for one in agreement.differences(client)}
    assert seen.keys() == truth.keys() == set(agreement.COMPARED)
    assert (seen["volume_hour"] > 0, seen["problems_hour"] < 0, seen["sessions"] < 0) == (True, True, True)
    done = damaged.wharf("rebuild", "--from", FIRST_HOUR)
    assert {one["rollup"] for one in done} == truth.keys()
    assert damaged.truth() == truth


def test_a_period_is_made_right_and_the_rest_left_as_it_is(damaged: Damaged) -> None:
    truth = damaged.truth()["volume_hour"]
    damaged.query("INSERT INTO volume_hour SELECT * FROM volume_hour SETTINGS insert_deduplicate = 0")
    damaged.wharf("rebuild", "--from", "2026-03-01T01:30:00+00:00", "--to", "2026-03-01T02:10:00+00:00")
    found = damaged.truth()["volume_hour"]
    for right, now in zip(truth, found, strict=True):
        times = 1 if right[1].day == 1 and right[1].hour in (1, 2) else 2
        assert (now[:-2], now[-2:]) == (right[:-2], (right[-2] * times, right[-1] * times))
    damaged.rebuild()
    assert damaged.truth()["volume_hour"] == truth


def test_with_a_short_retention_a_month_that_began_before_it_is_added_to(damaged: Damaged) -> None:
    truth = damaged.truth()
    damaged.query("ALTER TABLE messages DELETE WHERE sent >= '2026-03-01 01:00:00' SETTINGS mutations_sync = 2")
    damaged.query("ALTER TABLE volume_hour DELETE WHERE hour = '2026-03-01 01:00:00' SETTINGS mutations_sync = 2")
    assert len(damaged.truth()["messages"]) < len(truth["messages"])
    # 2026-03-02T00:30, so that events are kept since one o'clock the day before.
    with mock.patch("compose.cli.repair.now_ms", return_value=BASE_MS + 24 * HOUR_MS + HOUR_MS // 2):
        done = damaged.wharf("rebuild", "--from", "2026-03-01T01:00", WHARF_CLICKHOUSE__RETENTION_DAYS="1")
    assert {one["rollup"] for one in done} == truth.keys()
    assert {one["rollup"] for one in done if not one["replaced"]} == {"messages", "contacts_day"}
    assert damaged.truth() == truth


@pytest.mark.parametrize("points", [POINTS[3:5], pytest.param(POINTS[:3] + POINTS[5:], marks=pytest.mark.long)])
def test_killed_at_each_step_it_is_right_when_run_again(damaged: Damaged, points: tuple[str, ...]) -> None:
    truth = damaged.truth()
    for point in points:
        damaged.damage()
        nth = 3 if point in ("after_fill", "after_replace") else 1
        process = damaged.dying(point, "rebuild", "--from", FIRST_HOUR, nth=nth)
        assert process.wait(SECONDS) == -9, process.tail()
        damaged.looks_dead()
        damaged.rebuild()
        assert damaged.truth() == truth, point
        assert damaged.leftovers() == [], "what the dead one left goes with the next repair"


def test_beside_a_running_sink_that_never_rests(damaged: Damaged) -> None:
    """Records come all the time; rebuilds and a replay among them count nothing twice and leave nothing out."""
    sink = damaged.sink()
    stop = threading.Event()
    feeding = threading.Thread(target=lambda: _feed(damaged.streams, stop))
    feeding.start()
    try:
        damaged.rebuild()
        damaged.query("ALTER TABLE events DELETE WHERE _offset % 3 = 0 SETTINGS mutations_sync = 2")
        lost = damaged.wharf("replay", "--from", "beginning")[0]
        assert lost["inserted"] > 0
        damaged.rebuild()
    finally:
        stop.set()
        feeding.join()
    wait_equal(damaged.streams, damaged.database)
    assert sink.alive
    truth = damaged.truth()
    damaged.rebuild()
    assert damaged.truth() == truth, "the views had counted the same"


def _feed(streams: Streams, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        produce(streams, 4)


def test_a_range_that_a_dead_sink_left_half_inserted_is_waited_for(damaged: Damaged) -> None:
    produce(damaged.streams, 20)
    dying = damaged.sink(WHARF_TEST_FAULTS=json.dumps({"crash": {"point": "after_insert"}}))
    assert dying.wait(SECONDS) == -9
    with pytest.raises(APIError, match=r"events\.|results\["):
        damaged.wharf("rebuild", "--from", FIRST_HOUR, "--wait", "0.5")
    damaged.damage()
    waiting = damaged.dying("after_closed", "rebuild", "--from", FIRST_HOUR, nth=2)
    wait_until(lambda: damaged.leftovers(), SECONDS, "the gate is up")
    sink = damaged.sink()
    assert waiting.wait(SECONDS) == 0, waiting.tail()
    wait_equal(damaged.streams, damaged.database)
    sink.stop()


def test_a_rebuild_that_stood_still_replaces_nothing_when_it_wakes(damaged: Damaged) -> None:
    """Its gate is broken by the sink, more is inserted, then it goes on."""
    asleep = damaged.dying("after_fill", "rebuild", "--from", FIRST_HOUR, nth=7, by="STOP")
    wait_until(lambda: damaged.look().closed, SECONDS, "the gate is closed")
    sink = damaged.sink()
    produce(damaged.streams, 10)
    wait_until(lambda: "held: rollups are rebuilt" in str(sink.health()), SECONDS, "the sink is held")
    wait_until(lambda: _stopped(asleep.pid), SECONDS, "the rebuild stands still")
    damaged.looks_dead()
    wait_equal(damaged.streams, damaged.database)
    assert [line["run_again"] for line in sink.lines() if line["event"] == "rebuild_died"] == ["wharf again"]
    go_on(asleep)
    assert asleep.wait(SECONDS) == 1
    assert "run it again" in asleep.tail()
    sink.stop()


HOUR = ("rebuild", "--from", "2026-03-01T01:00", "--to", "2026-03-01T02:00")
REST = ("rebuild", "--from", "2026-03-01T02:00")


def test_two_repairs_at_once_do_not_undo_each_other(damaged: Damaged) -> None:
    """Periods of the same partition: the first has copied the rest as it stands when the second is asked for."""
    truth = damaged.truth()
    damaged.query("INSERT INTO volume_hour SELECT * FROM volume_hour SETTINGS insert_deduplicate = 0")
    first = damaged.dying("after_fill", *HOUR, nth=7, by="STOP")
    wait_until(lambda: _stopped(first.pid), SECONDS, "the first stands still, filled")
    for other in (REST, ("replay", "--from", "beginning")):
        with pytest.raises(APIError, match=r"`wharf clickhouse rebuild --from 2026-03-01T01:00 --to \S+` is running"):
            damaged.wharf(*other, "--wait", "0.3")
    second = Process("compose.cli", damaged.streams.env, damaged.streams.folder / "second.log", "clickhouse", *REST)
    damaged.streams.started.append(second)
    wait_until(lambda: "waits for the end of `wharf clickhouse rebuild" in second.tail(), SECONDS, "the second waits")
    go_on(first)
    assert first.wait(SECONDS) == 0, first.tail()
    assert second.wait(SECONDS) == 0, second.tail()
    damaged.wharf("rebuild", "--from", FIRST_HOUR, "--to", "2026-03-01T01:00")
    assert damaged.truth() == truth


@pytest.mark.parametrize(("point", "nth"), [("after_staging", 1), ("after_fill", 7)])
def test_a_repair_that_was_taken_over_replaces_nothing(damaged: Damaged, point: str, nth: int) -> None:
    truth = damaged.truth()
    damaged.damage()
    asleep = damaged.dying(point, *HOUR, nth=nth, by="STOP")
    wait_until(lambda: _stopped(asleep.pid), SECONDS, "the first stands still")
    damaged.looks_dead()
    damaged.rebuild()
    assert damaged.truth() == truth
    go_on(asleep)
    assert asleep.wait(SECONDS) == 1, asleep.tail()
    assert "run it again" in asleep.tail()
    assert damaged.truth() == truth


def test_a_replay_that_was_taken_over_inserts_no_more_and_says_so(damaged: Damaged) -> None:
    damaged.query("ALTER TABLE events DELETE WHERE cityHash64(event_id) % 3 = 0 SETTINGS mutations_sync = 2")
    asleep = damaged.dying("after_replayed", "replay", "--from", "beginning", by="STOP")
    wait_until(lambda: _stopped(asleep.pid), SECONDS, "the replay stands still")
    damaged.looks_dead()
    damaged.rebuild()
    rows = damaged.query("SELECT count() FROM events FINAL")
    go_on(asleep)
    assert asleep.wait(SECONDS) == 1, asleep.tail()
    assert "run it again" in asleep.tail()
    assert damaged.query("SELECT count() FROM events FINAL") == rows
    damaged.wharf("replay", "--from", "beginning")
    wait_equal(damaged.streams, damaged.database)


def go_on(process: Process) -> None:
    os.kill(process.pid, signal.SIGCONT)


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_sink_that_looked_before_there_was_a_gate_looks_again_before_it_inserts(damaged: Damaged) -> None:
    """It stands still between its first look and its mark; meanwhile a rebuild has closed its gate and filled its tables."""
    held = json.dumps({"crash": {"point": "before_pending", "signal": "STOP"}})
    sink = damaged.sink(WHARF_TEST_FAULTS=held, WHARF_SINK__SESSION_TIMEOUT_MS="120000")
    produce(damaged.streams, 10)
    wait_until(lambda: _stopped(sink.pid), SECONDS, "the sink stands still")
    filled = damaged.dying("after_fill", "rebuild", "--from", FIRST_HOUR, nth=7, by="STOP")
    wait_until(lambda: _stopped(filled.pid), SECONDS, "the rebuild stands still")
    go_on(sink)
    wait_until(lambda: "held: rollups are rebuilt" in str(sink.health()), SECONDS, "the sink is held")
    stands = standings(damaged.streams.clients, GROUP, TOPICS)
    assert any(one.pending for one in stands.values())
    go_on(filled)
    filled.wait(SECONDS)
    wait_equal(damaged.streams, damaged.database)
    sink.stop()


def test_a_mark_that_comes_after_the_first_look_opens_the_gate_again(damaged: Damaged) -> None:
    """A sink may have looked before there was a gate, and commit its mark after that."""
    idle, busy = {("results", 0): Standing(5)}, {("results", 0): Standing(5, Range("results", 0, 5, 9))}
    engines = Engines(damaged.database.database)
    told = iter([busy, idle, busy, busy, idle, idle])
    seen: list[str] = []

    def stands() -> dict[tuple[str, int], Standing]:
        seen.extend(one.state for one in damaged.look().standing)
        return next(told)

    with Hold(damaged.database, engines, "0badc0de", "wharf again", lambda _text: None) as hold:
        hold.close(stands, 30)
        assert damaged.look().closed
    assert seen == ["closing", "closing", "closed", "closing", "closing", "closed"]
    assert not damaged.look().held


def test_deleted_events_come_back_once(damaged: Damaged) -> None:
    truth = damaged.truth()
    letters = len(damaged.streams.dump("deadletter"))
    before = damaged.query("SELECT count() FROM events FINAL")[0][0]
    damaged.query("ALTER TABLE events DELETE WHERE cityHash64(event_id) % 4 = 0 SETTINGS mutations_sync = 2")
    gone = before - damaged.query("SELECT count() FROM events FINAL")[0][0]
    planned = damaged.wharf("replay", "--from", "beginning", "--dry-run")
    told = damaged.wharf("replay", "--from", "beginning")[0]
    found, poison = log_events(damaged.streams)
    assert (told["inserted"], told["poison"], told["records"]) == (gone, poison, len(found) + poison)
    assert told["already_there"] == len(found) - gone
    assert sum(one["offsets"] for one in planned) == told["records"]
    assert damaged.truth() == truth
    again = damaged.wharf("replay", "--from", "beginning")[0]
    assert (again["inserted"], again["records"]) == (0, told["records"])
    assert damaged.truth() == truth
    assert len(damaged.streams.dump("deadletter")) == letters


@pytest.mark.parametrize(
    ("point", "nth"), [("after_replayed", 2), pytest.param("before_rebuild", 1, marks=pytest.mark.long)]
)
def test_a_killed_replay_is_made_good_by_the_next(damaged: Damaged, point: str, nth: int) -> None:
    truth = damaged.truth()
    damaged.query("ALTER TABLE events DELETE WHERE cityHash64(event_id) % 3 = 0 SETTINGS mutations_sync = 2")
    dying = damaged.dying(point, "replay", "--from", "beginning", nth=nth)
    assert dying.wait(SECONDS) == -9, dying.tail()
    damaged.looks_dead()
    damaged.wharf("replay", "--from", "beginning")
    assert damaged.truth() == truth


@pytest.mark.long
def test_one_partition_from_an_offset_and_what_is_left_to_the_sink(damaged: Damaged) -> None:
    produce(damaged.streams, 10)
    parts = damaged.wharf(
        "replay", "--topic", "events.status", "--partition", "1", "--from", "3", "--to", "9", "--dry-run"
    )
    assert [(one["partition"], one["from"], one["to"], one["left_to_the_sink"]) for one in parts] == [(1, 3, 9, 0)]
    everything = damaged.wharf("replay", "--from", "beginning", "--dry-run")
    assert sum(one["left_to_the_sink"] for one in everything) > 0
    truth = damaged.truth()
    assert damaged.wharf("replay", "--from", "beginning")[0]["inserted"] == 0
    assert damaged.truth() == truth
    damaged.drain()


def test_an_empty_clickhouse_is_filled_again_and_the_audit_agrees(
    damaged: Damaged, clickhouse: RunningClickHouse
) -> None:
    truth = damaged.truth()
    name = damaged.database.database
    damaged.query(f"DROP DATABASE {name} SYNC")
    migrated(clickhouse, name)
    told = damaged.wharf("replay", "--from", "beginning")[0]
    assert told["inserted"] == damaged.query("SELECT count() FROM events FINAL")[0][0]
    assert damaged.truth() == truth
    rows = ask(damaged.database, queries()["audit"].sql, {})
    assert rows.rows
    assert {row[rows.columns.index("missing")] for row in rows.rows} == {0}


def test_the_server_killed_while_it_is_rebuilt(damaged: Damaged, clickhouse: RunningClickHouse) -> None:
    """The command begins again by itself once the server is back."""
    truth = damaged.truth()
    damaged.damage()
    asleep = damaged.dying("after_replace", "rebuild", "--from", FIRST_HOUR, nth=2, by="STOP")
    wait_until(lambda: _stopped(asleep.pid), SECONDS, "the rebuild stands still")
    clickhouse.kill()
    go_on(asleep)
    clickhouse.start()
    assert asleep.wait(SECONDS) == 0, asleep.tail()
    assert damaged.truth() == truth
    damaged.looks_dead()
    damaged.look()


def test_refusals_name_what_to_do(damaged: Damaged) -> None:
    for words, says in (
        (("rebuild", "--from", "7d", "--to", "8d"), "is not after"),
        (("rebuild", "--from", "12"), "a time is expected"),
        (("replay", "--from", "5"), "--topic"),
        (("replay", "--from", "5", "--topic", "commands"), "does not read commands"),
        (("replay", "--from", "end"), "nothing behind the end"),
        (("replay", "--from", "5", "--topic", "results", "--partition", "99"), r"results\[99\]"),
    ):
        with pytest.raises(APIError, match=says):
            damaged.wharf(*words)
    with pytest.raises(APIError, match="--beyond-retention"):
        damaged.wharf("rebuild", "--from", "2001-01-01", WHARF_CLICKHOUSE__RETENTION_DAYS="30")


def test_what_the_log_has_dropped_is_told_as_gone(damaged: Damaged) -> None:
    """The last test: the log is shorter after it."""
    truth = damaged.truth()
    where = TopicPartition(f"{damaged.streams.settings.kafka.prefix}events.status", 1, 4)
    # Named: its futures end with it.
    admin = damaged.streams.clients.admin()
    assert admin.delete_records([where])[where].result(30).low_watermark == 4
    one = ("replay", "--topic", "events.status", "--partition", "1")
    for start, gone in (("beginning", 4), ("2000-01-01", 4), ("1", 3), ("4", 0)):
        (planned,) = damaged.wharf(*one, "--from", start, "--dry-run")
        assert (planned["from"], planned["gone"]) == (4, gone), start
    (told,) = damaged.wharf(*one, "--from", "1")
    assert (told["gone"], told["inserted"], told["records"]) == (3, 0, planned["offsets"])
    assert damaged.truth() == truth
