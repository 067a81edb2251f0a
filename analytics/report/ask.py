"""Asks what a report is made of: named queries, as the reader, within its limits."""

from __future__ import annotations

from collections.abc import Callable

from analytics.queries import instances
from analytics.queries.named import queries
from analytics.queries.run import run
from analytics.report.model import Question, Row
from core.settings import ClickHouseSettings

ASKED = (
    "volume",
    "active_contacts",
    "active_contacts_by_day",
    "busiest_hours",
    "funnel",
    "latency",
    "campaigns",
    "response_time",
    "failures",
    "limits",
    "uptime",
    "session_states",
)


def ask(settings: ClickHouseSettings, question: Question, tell: Callable[[int, str], None]) -> dict[str, list[Row]]:
    """The rows of each query; `tell` hears of each before it is asked. APIError for an instance that has no events."""
    if question.instance:
        instances.check(question.instance, instances.known(settings))
    period = question.period
    given = {"from": period.begin.isoformat(), "to": period.end.isoformat(), "instance": question.instance}
    out: dict[str, list[Row]] = {}
    for n, name in enumerate(ASKED, 1):
        tell(n, name)
        query = queries()[name]
        # No time is relative here, so that now means nothing.
        answer = run(settings, query.sql, query.values(given, 0))
        out[name] = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return out
