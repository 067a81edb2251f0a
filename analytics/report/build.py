"""The report: what the queries told, put into sections in the order that people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from analytics.report import delivery, traffic, trouble
from analytics.report.draw import svg
from analytics.report.model import Question, Row
from analytics.report.page import html


def build(question: Question, told: Mapping[str, Sequence[Row]], made: datetime) -> str:
    """One HTML page; `told` has the rows of every query of ask.py."""
    tiles = [
        *traffic.tiles(question, told["volume"], told["active_contacts"]),
        *delivery.tiles(told["funnel"], told["response_time"]),
        *trouble.tiles(told["failures"], told["limits"], told["uptime"]),
    ]
    funnel, funnel_over_time = delivery.funnel(question, told["funnel"])
    sections = [
        traffic.messages_in_and_out(question, told["volume"]),
        funnel,
        funnel_over_time,
        delivery.latency(told["latency"]),
        traffic.contents(told["volume"]),
        delivery.responses(told["response_time"]),
        delivery.campaigns(told["campaigns"]),
        traffic.contacts(question, told["active_contacts_by_day"]),
        traffic.busiest(told["busiest_hours"]),
        trouble.failures(told["failures"]),
        trouble.limits(told["limits"]),
        trouble.uptime(question, told["uptime"], told["session_states"]),
    ]
    return html(question, made, tiles, sections, svg)
