"""Named queries: their heads, their parameters, their values."""

from __future__ import annotations

import re

import pytest

from analytics.queries.instances import check
from analytics.queries.named import Param, parse, queries
from core.errors import APIError

NOW_MS = 1_772_323_200_123
WANTED = {
    "volume", "funnel", "latency", "response_time", "active_contacts", "failures", "limits", "campaigns", "uptime",
    "message_life", "contact_last", "busiest_hours", "audit",
}  # fmt: skip


def test_every_query_that_is_promised_is_there_and_documented() -> None:
    assert queries().keys() >= WANTED
    for query in queries().values():
        assert query.answers.endswith("."), query.name
        assert query.sql.startswith("SELECT"), query.name


def test_times_are_given_as_spans_or_times() -> None:
    values = queries()["volume"].values({"from": "2d", "to": "2026-02-28T13:00:00+01:00"}, NOW_MS)
    assert values == {"instance": "", "from": "2026-02-27 00:00:00.123", "to": "2026-02-28 12:00:00.000"}


def test_a_question_asked_twice_within_a_step_is_the_same_and_reaches_its_end() -> None:
    named = queries()["volume"]
    step_ms = NOW_MS - NOW_MS % 10_000
    first = named.values({"from": "1h"}, step_ms, 10)
    assert first == named.values({"from": "1h"}, step_ms + 9_999, 10)
    assert first == {"instance": "", "from": "2026-02-28 23:00:00.000", "to": "2026-03-01 00:00:10.000"}
    assert named.values({"from": "1h"}, step_ms + 10_000, 10) != first


def test_no_named_query_asks_the_clock_or_chance() -> None:
    """ClickHouse's query cache would refuse it."""
    for query in queries().values():
        called = {word.lower() for word in re.findall(r"(\w+)\s*\(", query.sql)}
        assert not called & {"now", "now64", "today", "yesterday", "rand", "rand64", "generateuuidv4"}, query.name


def test_an_instance_without_events_is_told_with_those_that_were_meant() -> None:
    check("sales-1", ["sales-1"])
    with pytest.raises(APIError, match="similar: sales-1, sales-2") as caught:
        check("slaes-1", ["support", "sales-1", "sales-2"])
    assert (caught.value.code, caught.value.field) == ("api.not_found", "instance")


@pytest.mark.parametrize(
    ("name", "given", "field"),
    [
        ("volume", {"form": "7d"}, "form"),
        ("volume", {"from": "yesterday"}, "from"),
        ("volume", {"from": "1d", "to": "2d"}, "from"),
        ("volume", {"from": "now", "to": "now"}, "from"),
        ("message_life", {}, "message"),
        ("contact_last", {"contact": "x", "limit": "-1"}, "limit"),
        ("contact_last", {"contact": "x", "limit": "4294967296"}, "limit"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, given: dict[str, str], field: str) -> None:
    with pytest.raises(APIError) as caught:
        queries()[name].values(given, NOW_MS)
    assert caught.value.field == field


def test_a_head_says_what_the_statement_uses() -> None:
    head = "-- What it answers.\n-- param a String = '' : an a\n-- param b Time : a b\n"
    parsed = parse("x", head + "SELECT {a:String}, {b:DateTime64(3)}\n")
    assert parsed.params == (Param("a", "String", "", "an a"), Param("b", "Time", None, "a b"))
    for text in ("SELECT 1", "-- Nothing.\nSELECT {a:String}", "-- A.\n-- param a Float : x\nSELECT {a:Float64}"):
        with pytest.raises(ValueError, match="x: "):
            parse("x", text)
