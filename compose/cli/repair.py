"""`wharf clickhouse rebuild|replay`: make the rollups right again, bring back what ClickHouse lost."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from analytics.rebuild import plan
from analytics.rebuild.period import Period
from analytics.rebuild.rebuild import Done, Rebuilder
from analytics.rebuild.rollups import rollups
from analytics.replay.progress import span
from analytics.replay.replay import Replay, Summary
from analytics.replay.scope import Part, scope
from analytics.sink.rows import TOPICS
from analytics.sink.store import Store
from compose.cli.cluster import Cluster, Data, command_settings, note, require_kafka
from compose.cli.commands import now_ms
from compose.cli.output import Json, print_json, print_table
from compose.cli.tail import parse_start
from core.errors import APIError
from core.faults import faults_from
from core.kafka.clients import KafkaClients
from core.kafka.dump import Beginning, Offset, Time
from core.settings import Settings

REBUILD_EXAMPLES = """
[bold]Examples[/]

wharf clickhouse rebuild --from 2026-03-01

wharf clickhouse rebuild --from 7d --to 2d
"""
REPLAY_EXAMPLES = """
[bold]Examples[/]

wharf clickhouse replay --from 2d --dry-run

wharf clickhouse replay --from beginning

wharf clickhouse replay --topic events.message --partition 3 --from 120000 --to 125000
"""
Wait = Annotated[
    float,
    typer.Option("--wait", min=0.1, help="Seconds for another repair to end, and for sinks to finish what they began."),
]
Beyond = Annotated[
    bool,
    typer.Option(
        "--beyond-retention",
        help="Also what is older than clickhouse.retention_days: events that were dropped are lost from the rollups.",
    ),
]


def rebuild(
    start: Annotated[str, typer.Option("--from", help="A time (2026-03-01T09:00, or 7d = so long ago), or beginning.")],
    end: Annotated[str | None, typer.Option("--to", help="Until that time; else everything from --from on.")] = None,
    beyond: Beyond = False,
    wait: Wait = 60.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make the rollups of a period again from the raw table `events`, so that they say what it says.

    Hours are made whole, days in contacts_day, months in messages; where such a day or month began before
    clickhouse.retention_days, what they lack is added instead (--json: "replaced": false). Sinks wait meanwhile, nothing is
    lost; killed at any moment, it is run again.
    """
    settings = command_settings(data)
    first, last = _time(start, "--from"), None if end is None else _time(end, "--to")
    if last is not None and last <= first:
        raise APIError("api.validation", f"--to {end} is not after --from {start}", field="--to")
    work = plan.of_period(rollups(), Period.between(first, last), _kept_since(settings, beyond))
    require_kafka(settings)
    tell = _teller(json)
    if added := [one.rollup.name for one in work if not one.replaces]:
        tell(
            f"{' and '.join(added)}: only added to, since their rows stand for whole days or months and events are kept for "
            f"{settings.clickhouse.retention_days} days; rows of theirs that are wrong stay. --beyond-retention replaces them"
        )
    done = _rebuilder(settings, tell, wait).run(work)
    for one in done if json else ():
        print_json(_as_dict(one))
    if not json:
        _show(done)


def replay(
    start: Annotated[
        str, typer.Option("--from", help="beginning, a time (2026-03-01T09:00, or 2d = so long ago), or an offset.")
    ],
    end: Annotated[
        str | None, typer.Option("--to", help="A time or an offset, not included; else as far as the sink has come.")
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", help="Topic, with or without prefix, as often as needed; else all that the sink reads."
        ),
    ] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only that partition.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how much would be read.")] = False,
    wait: Wait = 60.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Read topics again into ClickHouse: events that are missing come in, those that are there stay once.

    Ends in a rebuild of the hours concerned. The sink goes on beside it; what it has not come to yet is left to it.
    """
    settings = command_settings(data)
    topics = [_known(name.removeprefix(settings.kafka.prefix)) for name in topic or TOPICS]
    first, last = parse_start(start, now_ms()), None if end is None else parse_start(end, now_ms(), "--to")
    if len(topics) != 1 and (isinstance(first, Offset) or isinstance(last, Offset)):
        raise APIError("api.validation", "an offset belongs to one topic: name it with --topic", field="--topic")
    require_kafka(settings)
    clients = KafkaClients(settings.kafka, "wharf-replay")
    parts = scope(clients, topics, partition, first, last)
    if dry_run:
        _show_parts(parts, json=json)
        return
    tell = _teller(json)
    tell(_extent(parts))
    store = Store(settings.clickhouse)
    try:
        run = Replay(
            store=store,
            decoder=Cluster(settings).codec,
            rebuilder=_rebuilder(settings, tell, wait),
            kept_since=_kept_since(settings, beyond=False),
        )
        summary = run.run(clients, parts)
    finally:
        store.close()
    _show_summary(summary, parts, json=json)


def _rebuilder(settings: Settings, tell: Callable[[str], None], wait_s: float) -> Rebuilder:
    again = shlex.join(["wharf", *sys.argv[1:]])
    return Rebuilder(settings, again, faults_from(os.environ), tell, wait_s)


def _teller(json: bool) -> Callable[[str], None]:
    """With --json standard error is for the error alone."""
    return (lambda _text: None) if json else note


def _kept_since(settings: Settings, beyond: bool) -> int:
    return 0 if beyond else plan.kept_since(settings.clickhouse.retention_days, now_ms())


def _time(text: str, option: str) -> int:
    match parse_start(text, now_ms(), option):
        case Beginning():
            return 0
        case Time(epoch_ms):
            return epoch_ms
        case _:
            raise APIError("api.validation", f"{option} {text}: a time is expected", field=option)


def _known(topic: str) -> str:
    if topic not in TOPICS:
        raise APIError(
            "api.not_found", f"the sink does not read {topic}; it reads {', '.join(TOPICS)}", field="--topic"
        )
    return topic


def _extent(parts: Sequence[Part]) -> str:
    gone, left = sum(one.gone for one in parts), sum(one.left for one in parts)
    text = (
        f"{sum(one.offsets for one in parts):,} offsets of {sum(one.offsets > 0 for one in parts)} partitions are read"
    )
    text += f"; up to {gone:,} are no longer in the log" if gone else ""
    return text + (f"; {left:,} are left to the sink, which has not come to them yet" if left else "")


def _show_parts(parts: Sequence[Part], *, json: bool) -> None:
    for one in parts if json else ():
        print_json(_part(one))
    if not json:
        rows = [
            (one.topic, one.partition, one.first, one.last, one.offsets, one.gone, one.left)
            for one in parts
            if one.offsets or one.gone or one.left
        ]
        print_table(("topic", "partition", "from", "to", "offsets", "gone", "left to the sink"), rows, empty="nothing")
        note(_extent(parts))


def _show_summary(summary: Summary, parts: Sequence[Part], *, json: bool) -> None:
    facts = {
        "records": summary.records,
        "inserted": summary.inserted,
        "already_there": summary.present,
        "poison": summary.poison,
        "gone": sum(one.gone for one in parts),
        "left_to_the_sink": sum(one.left for one in parts),
        "hours_older_than_retention": summary.left_hours,
        "seconds": round(summary.seconds, 1),
    }
    if json:
        parts_read = [_part(one) for one in parts if one.offsets]
        print_json({**facts, "parts": parts_read, "rebuilt": [_as_dict(one) for one in summary.rebuilt]})
        return
    _show(summary.rebuilt)
    note(
        f"{summary.records:,} records in {span(summary.seconds)}: {summary.inserted:,} inserted, {summary.present:,} were "
        f"there, {summary.poison:,} cannot be rows"
    )
    if summary.left_hours:
        note(
            f"{summary.left_hours:,} hours are older than clickhouse.retention_days; their counts are as the inserts left "
            "them. `wharf clickhouse rebuild --beyond-retention` counts them again from the events that are there"
        )


def _show(done: Sequence[Done]) -> None:
    rows = [
        (one.work.rollup.name, one.work.period, "replaced" if one.work.replaces else "added to", one.rows,
         one.events_before, one.events_after)
        for one in done
    ]  # fmt: skip
    print_table(("rollup", "period", "what", "rows", "counted", "counts"), rows, empty="nothing to rebuild")


def _as_dict(done: Done) -> dict[str, Any]:
    return {
        "rollup": done.work.rollup.name,
        "period": str(done.work.period),
        "replaced": done.work.replaces,
        "rows": done.rows,
        "events_before": done.events_before,
        "events_after": done.events_after,
        "seconds": round(done.seconds, 2),
    }


def _part(one: Part) -> dict[str, Any]:
    return {
        "topic": one.topic,
        "partition": one.partition,
        "from": one.first,
        "to": one.last,
        "offsets": one.offsets,
        "gone": one.gone,
        "left_to_the_sink": one.left,
    }
