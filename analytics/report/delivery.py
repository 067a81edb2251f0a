"""Sections on what became of sent messages: the funnel, how long it took, campaigns, answers."""

from __future__ import annotations

from collections.abc import Sequence

from analytics.report import words
from analytics.report.charts import Bar, Series, Waits, bars, columns, nested, waits
from analytics.report.frame import BLUE, GREY, PALE, RED, TEAL
from analytics.report.model import Question, Row, Section, Table, Tile
from analytics.report.steps import steps

STAGES = ("sent", "acknowledged", "delivered", "read", "failed")
MOST_ROWS = 12
# Two rows each.
MOST_INSTANCES = 6
NOBODY = "(no agent named)"


def funnel(question: Question, rows: Sequence[Row]) -> tuple[Section, Section]:
    """In total and per day."""
    total = {stage: sum(row[stage] for row in rows) for stage in STAGES}
    drawn = [
        _stage("Sent", total["sent"], total["sent"], GREY),
        _stage("Taken by WhatsApp", total["acknowledged"], total["sent"], BLUE),
        _stage("Delivered", total["delivered"], total["sent"], TEAL),
        _stage("Read", total["read"], total["sent"], TEAL),
        _stage("Failed", total["failed"], total["sent"], RED),
    ]
    table = Table(
        ("day", *STAGES), [(words.day(row["day"]), *(words.count(row[stage]) for stage in STAGES)) for row in rows]
    )
    overall = Section(
        key="funnel",
        title="How far sent messages came",
        text="Of all messages sent in this period; in groups, by at least one member. Who has switched read receipts off never"
        " counts as a reader.",
        empty="No messages were sent in this period.",
        queries=("funnel",),
        charts=(bars("Sent, acknowledged, delivered, read, failed", drawn),) if total["sent"] else (),
        table=table,
    )
    axis = steps(question.period)
    read = axis.sums((row["day"], row["read"]) for row in rows)
    delivered = axis.sums((row["day"], max(0, row["delivered"] - row["read"])) for row in rows)
    failed = axis.sums((row["day"], row["failed"]) for row in rows)
    open_ones = axis.sums((row["day"], max(0, row["sent"] - row["delivered"] - row["failed"])) for row in rows)
    stack = [
        Series("read", TEAL, read),
        Series("delivered, not read", BLUE, delivered),
        Series("not delivered yet", PALE, open_ones),
        Series("failed", RED, failed),
    ]
    by_time = Section(
        key="funnel-time",
        title=f"Sent messages per {axis.name}",
        text="By the day they were sent, and what became of them until now.",
        empty="No messages were sent in this period.",
        queries=("funnel",),
        charts=(columns(f"Sent messages per {axis.name} by what became of them", axis.spans, stack),)
        if total["sent"]
        else (),
        table=Table(
            (axis.name, *(one.name for one in stack)),
            [(span.says, *(words.count(one.values[n]) for one in stack)) for n, span in enumerate(axis.spans)],
        ),
    )
    return overall, by_time


def _stage(name: str, value: float, whole: float, colour: str) -> Bar:
    return Bar(name, value, f"{words.count(value)} ({words.share(value, whole)})", colour)


def latency(rows: Sequence[Row]) -> Section:
    ranked = sorted(rows, key=lambda row: (-row["delivered"], row["instance"]))
    names = words.labels(row["instance"] for row in ranked)
    drawn: list[Waits] = []
    for name, row in list(zip(names, ranked, strict=True))[:MOST_INSTANCES]:
        if row["delivered"]:
            drawn.append(Waits(f"{name}: delivered", row["delivery_seconds"]))
        if row["read"]:
            drawn.append(Waits(f"{name}: read", row["read_seconds"]))
    return Section(
        key="latency",
        title="How long until messages are delivered and read",
        text="From sending. The bar goes from the half that was fastest to 99 of 100."
        + words.shown(MOST_INSTANCES, len(ranked), "instances that sent most"),
        empty="No sent message was delivered in this period.",
        queries=("latency",),
        charts=(waits("Time until delivery and reading", drawn),) if drawn else (),
        table=Table(
            (
                "instance",
                "delivered",
                "half within",
                "9 of 10",
                "99 of 100",
                "read",
                "half within",
                "9 of 10",
                "99 of 100",
            ),
            [
                (
                    name,
                    words.count(row["delivered"]),
                    *map(words.duration, row["delivery_seconds"]),
                    words.count(row["read"]),
                    *map(words.duration, row["read_seconds"]),
                )
                for name, row in zip(names, ranked, strict=True)
            ],
        ),
    )


def responses(rows: Sequence[Row]) -> Section:
    names = words.labels((row["agent"] for row in rows), NOBODY)
    drawn = [Waits(name, row["seconds"]) for name, row in zip(names, rows, strict=True)][:MOST_ROWS]
    return Section(
        key="responses",
        title="How long contacts wait for an answer",
        text="In direct chats: from a contact's first unanswered message to the next message out, by the agent whom the"
        " command names." + words.shown(MOST_ROWS, len(rows), "with most answers"),
        empty="No message of a contact was answered in this period.",
        queries=("response_time",),
        charts=(waits("Waiting time by agent", drawn),) if drawn else (),
        table=Table(
            ("agent", "answers", "half within", "9 of 10", "99 of 100"),
            [
                (name, words.count(row["answers"]), *map(words.duration, row["seconds"]))
                for name, row in zip(names, rows, strict=True)
            ],
        ),
    )


def campaigns(rows: Sequence[Row]) -> Section:
    names = words.labels(row["campaign"] for row in rows)
    parts = (("sent", PALE), ("delivered", BLUE), ("read", TEAL))
    drawn = [(name, [row[part] for part, _ in parts]) for name, row in zip(names, rows, strict=True)][:MOST_ROWS]
    return Section(
        key="campaigns",
        title="Campaigns",
        text="Messages whose command named a campaign in its metadata: sent, of those delivered, of those read."
        + words.shown(MOST_ROWS, len(rows), "largest"),
        empty="No message of a campaign was sent in this period (a campaign is metadata.campaign of the command).",
        queries=("campaigns",),
        charts=(nested("Campaigns: sent, delivered, read", drawn, parts),) if drawn else (),
        table=Table(
            ("campaign", "sent", "delivered", "read", "failed", "read of sent", "half read within"),
            [
                (
                    name,
                    *(words.count(row[part]) for part in ("sent", "delivered", "read", "failed")),
                    words.share(row["read"], row["sent"]),
                    words.duration(row["median_seconds_to_read"]),
                )
                for name, row in zip(names, rows, strict=True)
            ],
        ),
    )


def tiles(funnel_rows: Sequence[Row], response_rows: Sequence[Row]) -> list[Tile]:
    total = {stage: sum(row[stage] for row in funnel_rows) for stage in STAGES}
    medians = [row["seconds"][0] for row in response_rows]
    ends = dict.fromkeys(words.duration(one) for one in (min(medians), max(medians))) if medians else ("–",)
    return [
        Tile("Delivered", words.share(total["delivered"], total["sent"]), "of sent messages"),
        Tile("Read", words.share(total["read"], total["sent"]), "of sent messages"),
        Tile("Answered within", " – ".join(ends), "half of the answers, by agent"),
    ]
