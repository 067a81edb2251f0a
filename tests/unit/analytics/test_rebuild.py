"""Periods, what a rebuild does to which rollup, and its statements as text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import gate
from analytics.rebuild import plan
from analytics.rebuild.period import END, HOUR_MS, Period, Unit, unit_of
from analytics.rebuild.rollups import rollups
from analytics.schema.engines import Engines
from core.errors import APIError

HOURS = st.integers(0, END - 1)
BY_NAME = {one.name: one for one in rollups()}


def hours_of(period: Period) -> set[int]:
    return {hour for start, end in period.ranges for hour in range(start, end)}


def start_of(hour: int, unit: Unit) -> datetime:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    if unit == "hour":
        return moment
    return moment.replace(hour=0) if unit == "day" else moment.replace(hour=0, day=1)


@settings(deadline=None)
@given(st.sets(HOURS, max_size=40), st.sampled_from(["hour", "day", "month"]))
def test_widening_keeps_every_hour_and_cuts_no_day_or_month(hours: set[int], unit: Unit) -> None:
    period = Period.of_hours(hours)
    assert hours_of(period) == hours
    wide = period.widened(unit)
    assert hours <= hours_of(wide)
    for start, end in wide.ranges:
        assert start_of(start, unit) == start_of(start, "hour")
        assert end == END or start_of(end, unit) == start_of(end, "hour")
        # Nothing beside the days or months that were asked for.
        assert {start_of(hour, unit) for hour in (start, end - 1)} <= {start_of(hour, unit) for hour in hours}
    assert all(left[1] < right[0] for left, right in zip(wide.ranges, wide.ranges[1:], strict=False))


def test_times_are_widened_to_hours_and_the_end_may_be_open() -> None:
    assert Period.between(HOUR_MS + 1, 3 * HOUR_MS).ranges == ((1, 3),)
    assert Period.between(HOUR_MS + 1, 3 * HOUR_MS + 1).ranges == ((1, 4),)
    assert Period.between(-5).ranges == ((0, END),)
    assert not Period.between(HOUR_MS, HOUR_MS)
    assert Period.between(0, 10 * HOUR_MS).since(4).ranges == ((4, 10),)


def test_conditions_bound_the_column_and_name_scattered_hours() -> None:
    assert Period(((24, 48),)).condition("day") == "(day >= '1970-01-02' AND day < '1970-01-03')"
    assert Period(((1, END),)).condition("ts") == "(ts >= '1970-01-01 01:00:00')"
    scattered = Period.of_hours([1, 2, 5]).condition("hour")
    assert scattered.startswith("(hour >= '1970-01-01 01:00:00' AND hour < '1970-01-01 06:00:00' AND ")
    assert scattered.endswith("IN (1,2,5))")
    assert Period(()).condition("hour") == "0"


def test_every_rollup_is_derived_from_its_view() -> None:
    assert {name for name, one in BY_NAME.items() if one.sums} == {"volume_hour", "latency_hour", "problems_hour"}
    assert {one.of for one in rollups()} == {"ts", "received_at"}
    assert BY_NAME["latency_hour"].of == "received_at"
    for one in rollups():
        sql = one.rows(Engines("db"), "a = 1", "b = 2")
        assert sql.count("(SELECT * FROM db.events FINAL WHERE a = 1)") == 1
        assert sql.endswith(" WHERE b = 2)")
        assert "{" not in sql
        assert unit_of(one.time) == {"contacts_day": "day", "messages": "month"}.get(one.name, "hour")


def test_staging_tables_are_like_the_rollup_on_one_node_and_on_a_cluster() -> None:
    for one in rollups():
        (single,) = one.staging(Engines("db"), "0123abcd")
        assert single.startswith(f"CREATE TABLE IF NOT EXISTS db.rebuild_0123abcd_{one.name}\n")
        assert not re.search(r"CLUSTER|Replicated|Distributed|\{", single)
        local, over = one.staging(Engines("db", "prod"), "0123abcd")
        name = f"rebuild_0123abcd_{one.name}"
        assert local.startswith(f"CREATE TABLE IF NOT EXISTS db.{name}_local ON CLUSTER 'prod'")
        assert f"MergeTree('/clickhouse/tables/{{shard}}/db/{name}', '{{replica}}')" in local
        assert over.startswith(f"CREATE TABLE IF NOT EXISTS db.{name} ON CLUSTER 'prod' AS db.{name}_local")


def test_a_period_is_refused_where_the_raw_table_does_not_reach_back_so_far() -> None:
    now = 400 * 24 * HOUR_MS
    assert plan.kept_since(0, now) == 0
    since = plan.kept_since(100, now + 1)
    assert since == 300 * 24 + 1
    work = plan.of_period(rollups(), Period.between(now - HOUR_MS), since)
    assert {one.rollup.name for one in work} == BY_NAME.keys()
    assert all(one.replaces for one in work)
    with pytest.raises(APIError, match=r"would be rebuilt.*--beyond-retention"):
        plan.of_period(rollups(), Period.between((since - 1) * HOUR_MS), since)


def test_a_day_or_month_that_began_before_the_raw_table_is_added_to() -> None:
    since = 300 * 24 + 1
    period = Period.between((since + 1) * HOUR_MS)
    work = {one.rollup.name: one for one in plan.of_period(rollups(), period, since)}
    assert work.keys() == BY_NAME.keys()
    assert {name for name, one in work.items() if not one.replaces} == {"messages", "contacts_day"}
    assert {one.period for one in work.values()} == {period}
    next_day = {one.rollup.name: one for one in plan.of_period(rollups(), Period.between(301 * 24 * HOUR_MS), since)}
    assert {name for name, one in next_day.items() if not one.replaces} == {"messages"}
    sums_by_month = replace(BY_NAME["volume_hour"], time="month")
    with pytest.raises(APIError, match="volume_hour would be rebuilt"):
        plan.of_period([sums_by_month], period, since)


def test_after_a_replay_only_sums_are_replaced_hour_by_hour_as_far_as_events_are_kept() -> None:
    work = {one.rollup.name: one for one in plan.of_replay(rollups(), {"ts": {5, 90, 91}, "received_at": {91}}, 50)}
    assert {name for name, one in work.items() if one.replaces} == {"volume_hour", "latency_hour", "problems_hour"}
    assert work["volume_hour"].period.ranges == ((90, 92),)
    assert work["latency_hour"].period.ranges == ((91, 92),)
    # What merges loses nothing, so nothing is held back from it.
    assert work["messages"].period.ranges == ((5, 6), (90, 92))
    assert plan.of_replay(rollups(), {"ts": set(), "received_at": set()}, 0) == []


def test_a_gate_is_stale_when_it_was_not_touched_for_long_and_only_a_closed_one_stops_inserts() -> None:
    closing, closed = (gate.Seen("0123abcd", state, "again", 1_000) for state in ("closing", "closed"))
    assert not closed.is_stale(1_000 + gate.STALE_MS)
    assert closed.is_stale(1_001 + gate.STALE_MS)
    assert (gate.View().held, gate.View().closed) == (False, False)
    assert (gate.View((closing,)).held, gate.View((closing,)).closed) == (True, False)
    assert gate.View((closing, closed)).closed
    assert not gate.View((), (closed,)).held
