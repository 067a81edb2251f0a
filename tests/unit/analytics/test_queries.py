"""Named queries: their heads, their parameters, their values."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("name", "given", "field"),
    [
        ("volume", {"form": "7d"}, "form"),
        ("volume", {"from": "yesterday"}, "from"),
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
