"""Sections on what went wrong or was held back: failures, verdicts of limits, time that sessions were not online."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from analytics.report import words
from analytics.report.charts import Bar, Stretch, bars, stretches
from analytics.report.frame import BLUE, GREY, ORANGE, PALE, RED, TEAL
from analytics.report.model import Question, Row, Section, Table, Tile
from analytics.report.steps import steps

MOST_ROWS = 12
# More could not be told apart, and would make the page large.
MOST_STRETCHES = 2_000
ONLINE = "online"
_COLOURS = (
    (ONLINE, TEAL),
    ("connecting", PALE),
    ("offline", ORANGE),
    ("not linked", GREY),
    ("stopped by WhatsApp", RED),
    ("switched off", BLUE),
)
_SHOWN_AS = {
    "online": ONLINE,
    "connecting": "connecting",
    "paired": "connecting",
    "offline": "offline",
    "replaced": "offline",
    "created": "not linked",
    "unpaired": "not linked",
    "pairing": "not linked",
    "pair_failed": "not linked",
    "logged_out": "not linked",
    "banned": "stopped by WhatsApp",
    "outdated": "stopped by WhatsApp",
    "failed": "stopped by WhatsApp",
    "stopped": "switched off",
}


def failures(rows: Sequence[Row]) -> Section:
    drawn = _bars(rows, RED)
    return Section(
        key="failures",
        title="What failed",
        text="Messages that WhatsApp refused, commands that ended without being sent, messages that could not be decrypted.",
        empty="Nothing failed in this period.",
        queries=("failures",),
        charts=(bars("Failures by cause", drawn),) if drawn else (),
        is_wide=True,
        table=Table(
            ("what", "code", "how often", "first", "last (hour)"),
            [
                (
                    words.kind(row["kind"], ""),
                    words.label(row["error_code"], "–"),
                    words.count(row["events"]),
                    words.moment(row["first_hour"]),
                    words.moment(row["last_hour"]),
                )
                for row in rows
            ],
            texts=2,
        ),
    )


def limits(rows: Sequence[Row]) -> Section:
    drawn = _bars(rows, ORANGE)
    return Section(
        key="limits",
        title="What limits did",
        text="Limits protect the numbers: they delay or reject commands, warn and block. WhatsApp has limits of its own.",
        empty="No limit did anything in this period.",
        queries=("limits",),
        charts=(bars("Verdicts of limits", drawn),) if drawn else (),
        is_wide=True,
        table=Table(
            ("instance", "what", "how often", "mean delay"),
            [
                (
                    words.label(row["instance"]),
                    words.kind(row["kind"], row["error_code"]),
                    words.count(row["events"]),
                    words.duration(row["mean_delay_seconds"]) if row["kind"] == "result.delayed" else "–",
                )
                for row in rows
            ],
            texts=2,
        ),
    )


def _bars(rows: Sequence[Row], colour: str) -> list[Bar]:
    """By cause, of all instances together."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[words.kind(row["kind"], row["error_code"])] += row["events"]
    return [Bar(name, events, words.count(events), colour) for name, events in counts.most_common(MOST_ROWS)]


def uptime(question: Question, rows: Sequence[Row], states: Sequence[Row]) -> Section:
    """`rows` begin with the instance that was online least."""
    shown = [row["instance"] for row in rows[:MOST_ROWS]]
    names = dict(zip(shown, words.labels(shown), strict=True))
    drawn = [
        Stretch(names[row["instance"]], _SHOWN_AS.get(row["state"], "offline"), row["since"], row["until"])
        for instance in shown
        for row in states
        if row["instance"] == instance
    ]
    share = [
        Bar(names[row["instance"]], row["online_percent"], words.share(row["online_percent"], 100), TEAL)
        for row in rows[:MOST_ROWS]
    ]
    charts = [bars("Share of the time online", share, whole=100)] if share else []
    if 0 < len(drawn) <= MOST_STRETCHES:
        charts.append(stretches("States of sessions over time", steps(question.period).spans, drawn, _COLOURS))
    return Section(
        key="uptime",
        title="Sessions online",
        text="Share of the time that each session was connected to WhatsApp. What came meanwhile WhatsApp kept for later."
        + words.shown(MOST_ROWS, len(rows), "that were online least"),
        empty="No state of a session is known for this period.",
        queries=("uptime", "session_states"),
        charts=tuple(charts),
        table=Table(
            ("instance", "online", "time online", "time known", "went away"),
            [
                (
                    words.label(row["instance"]),
                    words.share(row["online_percent"], 100),
                    words.duration(row["online_seconds"]),
                    words.duration(row["known_seconds"]),
                    words.count(row["drops"]),
                )
                for row in rows
            ],
        ),
        is_wide=True,
    )


def tiles(failure_rows: Sequence[Row], limit_rows: Sequence[Row], uptime_rows: Sequence[Row]) -> list[Tile]:
    known = sum(row["known_seconds"] for row in uptime_rows)
    online = sum(row["online_seconds"] for row in uptime_rows)
    sessions = "1 session" if len(uptime_rows) == 1 else f"{words.count(len(uptime_rows))} sessions"
    return [
        Tile("Failures", words.count(sum(row["events"] for row in failure_rows)), "messages and commands"),
        Tile("Limits", words.count(sum(row["events"] for row in limit_rows)), "delays, refusals, warnings, blocks"),
        Tile("Online", words.share(online, known), f"of the time, {sessions}"),
    ]
