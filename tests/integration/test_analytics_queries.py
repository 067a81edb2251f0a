"""Every named query on events that were made by hand, each answer known."""

from __future__ import annotations

import secrets
from datetime import UTC, date, datetime
from typing import Any

import pytest

from analytics.queries.named import queries
from analytics.queries.run import run
from analytics.sink.ledger import Range
from analytics.sink.store import Inserted, Store
from core.errors import APIError
from core.settings import ClickHouseSettings
from tests.support import events as make
from tests.support.clickhouse import RunningClickHouse, insert_records, migrated

pytestmark = pytest.mark.timeout(600)
AT = make.BASE_MS
HOUR = make.HOUR_MS
PERIOD = {"from": "2026-03-01", "to": "2026-03-02"}
ANN = "49170@s.whatsapp.net"


@pytest.fixture(scope="module")
def database(clickhouse: RunningClickHouse) -> ClickHouseSettings:
    settings = migrated(clickhouse, f"queries_{secrets.token_hex(4)}")
    may = {"campaign": "may", "agent": "bob"}
    messages = [
        make.message("a", 1, AT, contact=ANN, message_id="I1"),
        make.message("a", 2, AT + 10_000, contact=ANN, message_id="I2"),
        # Ten seconds after the second, twenty after the first question.
        make.message("a", 3, AT + 20_000, contact=ANN, message_id="O1", direction="out", metadata=may),
        make.message("a", 4, AT + HOUR, contact=ANN, message_id="O2", direction="out", metadata=may),
        make.message("b", 5, AT + HOUR, contact="1@s.whatsapp.net", message_id="O3", direction="out"),
    ]
    insert_records(settings, "events.message", messages)
    statuses = [
        make.status("a", 10, AT + 20_100, "O1", "server_ack"),
        make.status("a", 11, AT + 21_000, "O1", "delivered"),
        make.status("a", 12, AT + 25_000, "O1", "read"),
        # Our own phone read what the contact wrote: no fact of a message of ours.
        make.status("a", 13, AT + 15_000, "I1", "read", from_self=True, message_sender=ANN),
        make.status("b", 14, AT + HOUR + 5, "O3", "failed", error_code=470),
    ]
    insert_records(settings, "events.status", statuses)
    sessions = [
        make.session("a", 20, AT, "online"),
        make.session("a", 21, AT + HOUR, "gap"),
        make.session("a", 22, AT + 6 * HOUR, "offline", reason_code=428),
        make.session("a", 23, AT + 12 * HOUR, "online"),
    ]
    insert_records(settings, "events.session", sessions)
    results = [
        make.result("a", "c1", AT + 15_000, "delayed", 1, until=AT + 17_000),
        make.result("a", "c1", AT + 20_000, "sent", 2, message_id="O1", metadata=may),
        make.result("b", "c2", AT, "rejected", 1, error={"code": "api.queue_full", "message": "full"}),
        # Not a limit's: the command was wrong.
        make.result("b", "c3", AT, "rejected", 1, error={"code": "api.validation", "message": "no"}),
    ]
    insert_records(settings, "results", results)
    return settings


def ask(settings: ClickHouseSettings, name: str, **given: str) -> list[dict[str, Any]]:
    answer = run(settings, queries()[name].sql, queries()[name].values({**given}, AT + 24 * HOUR))
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def test_every_query_runs(database: ClickHouseSettings) -> None:
    needed = {"message_life": {"message": "O1"}, "contact_last": {"contact": ANN}}
    for name in queries():
        assert ask(database, name, **needed.get(name, {})), name


def test_volume(database: ClickHouseSettings) -> None:
    rows = ask(database, "volume", instance="a", **PERIOD)
    assert {(row["direction"], row["events"]) for row in rows} == {("in", 2), ("out", 2)}


def test_funnel(database: ClickHouseSettings) -> None:
    (row,) = ask(database, "funnel", **PERIOD)
    assert row["day"] == date(2026, 3, 1)
    assert [row[name] for name in ("sent", "acknowledged", "delivered", "read", "failed")] == [3, 1, 1, 1, 1]


def test_latency(database: ClickHouseSettings) -> None:
    row = next(row for row in ask(database, "latency", **PERIOD) if row["instance"] == "a")
    assert (row["delivered"], row["delivery_seconds"][0]) == (1, 1.0)
    assert (row["read"], row["read_seconds"][0]) == (1, 5.0)


def test_response_time_is_from_the_first_unanswered_question(database: ClickHouseSettings) -> None:
    assert ask(database, "response_time", **PERIOD) == [{"agent": "bob", "answers": 1, "seconds": [20.0] * 3}]


def test_active_contacts(database: ClickHouseSettings) -> None:
    rows = ask(database, "active_contacts", **PERIOD)
    assert {(row["instance"], row["direction"], row["contacts"]) for row in rows} == {
        ("a", "in", 1),
        ("a", "out", 1),
        ("b", "out", 1),
    }


def test_failures_and_limits(database: ClickHouseSettings) -> None:
    found = {(row["kind"], row["error_code"], row["events"]) for row in ask(database, "failures", **PERIOD)}
    assert found == {
        ("status.failed", "470", 1),
        ("result.rejected", "api.queue_full", 1),
        ("result.rejected", "api.validation", 1),
    }
    verdicts = [
        (row["instance"], row["kind"], row["error_code"], row["mean_delay_seconds"])
        for row in ask(database, "limits", **PERIOD)
    ]
    assert verdicts == [("a", "result.delayed", "", 2.0), ("b", "result.rejected", "api.queue_full", 0.0)]


def test_campaigns(database: ClickHouseSettings) -> None:
    (row,) = ask(database, "campaigns", campaign="may", **PERIOD)
    assert (row["sent"], row["delivered"], row["read"], row["read_percent"]) == (2, 1, 1, 50.0)


def test_uptime_is_the_share_of_the_known_time(database: ClickHouseSettings) -> None:
    (row,) = ask(database, "uptime", **PERIOD)
    assert (row["instance"], row["online_percent"], row["drops"]) == ("a", 75.0, 1)


def test_message_life(database: ClickHouseSettings) -> None:
    kinds = [row["kind"] for row in ask(database, "message_life", message="O1")]
    assert sorted(kinds[:2]) == ["message.new", "result.sent"]
    assert kinds[2:] == ["status.server_ack", "status.delivered", "status.read"]


def test_contact_last(database: ClickHouseSettings) -> None:
    rows = ask(database, "contact_last", contact=ANN, limit="2")
    assert [row["message_id"] for row in rows] == ["O2", "O1"]
    assert rows[0]["ts"] == datetime(2026, 3, 1, 1, tzinfo=UTC)


def test_busiest_hours(database: ClickHouseSettings) -> None:
    assert ask(database, "busiest_hours", **PERIOD) == [{"weekday": 7, "hour_of_day": 0, "messages": 2}]


def test_audit_finds_nothing_missing(database: ClickHouseSettings) -> None:
    rows = {row["topic"]: row for row in ask(database, "audit")}
    assert {topic: (row["next_offset"], row["missing"]) for topic, row in rows.items()} == {
        "events.message": (5, 0),
        "events.status": (5, 0),
        "events.session": (4, 0),
        "results": (4, 0),
    }
    assert {row["gaps"] for row in rows.values()} == {0}


def test_audit_sees_holes_between_noted_ranges(database: ClickHouseSettings) -> None:
    """The first range begins where the log did; ranges may lie within others, and a replay notes runs."""
    store = Store(database)
    for first, last in ((100, 109), (111, 150), (120, 130), (151, 160), (200, 209)):
        store.note([Inserted(Range("events.chat", 3, first, last), 1, 0, 1, 0)])
    store.close()
    (row,) = [row for row in ask(database, "audit") if row["topic"] == "events.chat"]
    assert (row["next_offset"], row["gaps"], row["gap_offsets"], row["widest_gap"]) == (210, 2, 40, 39)


def test_texts_of_people_are_values_and_never_sql(database: ClickHouseSettings) -> None:
    for text in ("' OR 1 = 1 --", "a\\", "\n\t\0", "{instance:String}"):
        assert ask(database, "message_life", message=text) == []


def test_a_query_reads_only_and_says_what_stopped_it(database: ClickHouseSettings) -> None:
    for statement in (
        "DROP TABLE events",
        "INSERT INTO batches (first) VALUES (1)",
        "ALTER TABLE events DELETE WHERE 1",
    ):
        with pytest.raises(APIError):
            run(database, statement, {})
    with pytest.raises(APIError, match="wharf clickhouse migrate"):
        run(database, "SELECT * FROM nothing", {})
    with pytest.raises(APIError, match="more than 1,000,000 rows"):
        run(database, "SELECT number FROM numbers(2000000)", {})
