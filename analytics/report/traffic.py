"""Sections on what came and went: messages per day, their contents, contacts, busiest hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date

from analytics.report import words
from analytics.report.charts import Bar, Series, bars, columns, lines, week
from analytics.report.frame import BLUE, TEAL
from analytics.report.model import Question, Row, Section, Table, Tile
from analytics.report.steps import steps

# Edits, reactions and deletions are events, too, but no messages.
MESSAGE = "message.new"
IN, OUT = "in", "out"
MOST_TYPES = 10


def messages_in_and_out(question: Question, rows: Sequence[Row]) -> Section:
    axis = steps(question.period)
    by_direction: dict[str, list[tuple[date, float]]] = defaultdict(list)
    for row in rows:
        if row["kind"] == MESSAGE:
            by_direction[row["direction"]].append((row["day"], row["events"]))
    came, went = axis.sums(by_direction[IN]), axis.sums(by_direction[OUT])
    stack = [Series("received", BLUE, came), Series("sent", TEAL, went)]
    is_empty = not any([*came, *went])
    return Section(
        key="volume",
        title=f"Messages per {axis.name}",
        text="Messages that contacts wrote (received) and that the account wrote (sent), from wharf or from the phone.",
        empty="No messages in this period.",
        queries=("volume",),
        charts=() if is_empty else (columns(f"Messages per {axis.name}, received and sent", axis.spans, stack),),
        table=Table(
            (axis.name, "received", "sent"),
            [(span.says, words.count(a), words.count(b)) for span, a, b in zip(axis.spans, came, went, strict=True)],
        ),
        is_wide=True,
    )


def contents(rows: Sequence[Row]) -> Section:
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["kind"] == MESSAGE:
            by_type[row["content_type"] or "unknown"][row["direction"]] += row["events"]
    ranked = sorted(by_type.items(), key=lambda item: (-item[1].total(), item[0]))
    total = sum(counts.total() for counts in by_type.values())
    drawn = [
        Bar(words.label(name), counts.total(), f"{words.count(counts.total())} ({words.share(counts.total(), total)})")
        for name, counts in ranked[:MOST_TYPES]
    ]
    return Section(
        key="contents",
        title="What is written",
        text="Messages in both directions by their content.",
        empty="No messages in this period.",
        queries=("volume",),
        charts=(bars("Messages by type of content", drawn),) if drawn else (),
        table=Table(
            ("content", "received", "sent"),
            [(words.label(name), words.count(counts[IN]), words.count(counts[OUT])) for name, counts in ranked],
        ),
    )


def contacts(question: Question, by_day: Sequence[Row]) -> Section:
    # Contacts of days cannot be added up to weeks.
    axis = steps(question.period, always_days=True)
    wrote = axis.sums((row["day"], row["contacts"]) for row in by_day if row["direction"] == IN)
    written_to = axis.sums((row["day"], row["contacts"]) for row in by_day if row["direction"] == OUT)
    is_empty = not any([*wrote, *written_to])
    drawn = [Series("wrote", BLUE, wrote), Series("were written to", TEAL, written_to)]
    return Section(
        key="contacts",
        title="Active contacts per day",
        text="Different people that wrote to the account, and that it wrote to. Estimated, within 1 %.",
        empty="No contact wrote or was written to in this period.",
        queries=("active_contacts_by_day", "active_contacts"),
        charts=() if is_empty else (lines("Active contacts per day", axis.spans, drawn),),
        table=Table(
            ("day", "wrote", "were written to"),
            [
                (span.says, words.count(a), words.count(b))
                for span, a, b in zip(axis.spans, wrote, written_to, strict=True)
            ],
        ),
        is_wide=True,
    )


def busiest(rows: Sequence[Row]) -> Section:
    amounts = [[0.0] * 24 for _ in range(7)]
    for row in rows:
        amounts[row["weekday"] - 1][row["hour_of_day"]] += row["messages"]
    total = sum(map(sum, amounts))
    by_hour = [sum(day[hour] for day in amounts) for hour in range(24)]
    peak = max(range(24), key=lambda hour: by_hour[hour])
    said = f" Most come between {peak:02d}:00 and {peak + 1:02d}:00." if total else ""
    return Section(
        key="busiest",
        title="Busiest hours",
        text=f"When contacts write: received messages by day of the week and hour. The darker, the more.{said}",
        empty="No messages were received in this period.",
        queries=("busiest_hours",),
        charts=(week("Received messages by day of the week and hour", amounts),) if total else (),
        table=Table(("hour (UTC)", "received"), [(f"{n:02d}:00", words.count(v)) for n, v in enumerate(by_hour)]),
        is_wide=True,
    )


def tiles(question: Question, volume: Sequence[Row], active: Sequence[Row]) -> list[Tile]:
    messages: Counter[str] = Counter()
    people: Counter[str] = Counter()
    for row in volume:
        if row["kind"] == MESSAGE:
            messages[row["direction"]] += row["events"]
    for row in active:
        people[row["direction"]] += row["contacts"]
    # Who knows two instances would be counted twice.
    notes = [f"from {words.count(people[IN])} contacts", f"to {words.count(people[OUT])} contacts"]
    came, went = notes if question.instance else ["messages of contacts", "messages to contacts"]
    return [Tile("Received", words.count(messages[IN]), came), Tile("Sent", words.count(messages[OUT]), went)]
