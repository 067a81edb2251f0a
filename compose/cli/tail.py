"""`wharf tail`: records of topics as they come, or from a point in the past."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer

from compose.cli.cluster import Cluster, Data, Seen, command_settings
from compose.cli.commands import now_ms
from compose.cli.output import Json, as_json, plain, print_json, stdout
from core.errors import APIError
from core.kafka.dump import Beginning, End, Offset, Start, Time
from core.topics import TOPICS

EXAMPLES = """
[bold]Examples[/]

wharf tail events.message results --instance sales-1

wharf tail events.message --from beginning --json | jq .content.text

wharf tail results --from 15m --no-follow

wharf tail audit --from 2026-03-01T09:00
"""

_AGO = re.compile(r"(\d+)([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHOWN = 160


def register(app: typer.Typer) -> None:
    app.command("tail", epilog=EXAMPLES)(tail)


def tail(
    topics: Annotated[
        list[str], typer.Argument(metavar="TOPIC...", help="Topics, with or without prefix: events.message, results, …")
    ],
    instance: Annotated[str | None, typer.Option("--instance", "-i", help="Only records of this instance.")] = None,
    start: Annotated[
        str,
        typer.Option("--from", help="beginning, end, a time (2026-03-01T09:00, or 15m = so long ago), or an offset."),
    ] = "end",
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on as records come, or stop at the end.")
    ] = True,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after so many records.")] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Print committed records: a line each for people, the record as JSON for scripts."""
    settings = command_settings(data)
    names = [known_topic(topic.removeprefix(settings.kafka.prefix)) for topic in topics]
    records = Cluster(settings).read(names, parse_start(start, now_ms()), follow=follow)
    chosen = (seen for seen in records if instance is None or seen.instance == instance)
    console = stdout()
    for seen in islice(chosen, limit):
        if json:
            print_json(full(seen))
        else:
            console.print(line(seen), markup=False, soft_wrap=True)


def known_topic(name: str) -> str:
    """The name, if the topic table has it."""
    names = sorted(topic.name for topic in TOPICS)
    if name not in names:
        raise APIError("api.not_found", f"there is no topic {name}; there are {', '.join(names)}")
    return name


def parse_start(text: str, now: int, option: str = "--from") -> Start:
    """Where `--from` (or another option) points."""
    if text in ("beginning", "end"):
        return Beginning() if text == "beginning" else End()
    if text.isascii() and text.isdigit():
        return Offset(int(text))
    if ago := _AGO.fullmatch(text):
        return Time(now - int(ago[1]) * _UNIT_MS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as cause:
        reason = "beginning, end, an offset, a time like 2026-03-01T09:00 or a span like 15m is expected"
        raise APIError("api.validation", f"{option} {text}: {reason}", field=option) from cause
    # A time without zone is meant as the clock on the wall says.
    return Time(int(moment.astimezone(UTC).timestamp() * 1000))


def full(seen: Seen) -> dict[str, Any]:
    """The record itself, and under `_record` where it stood."""
    record = seen.record
    where: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode(errors="replace"),
    }
    if seen.fault is not None:
        where["error"] = seen.fault.as_dict()
    if seen.fault is not None or (not seen.value and record.value is not None):
        where["value"] = record.value
    if record.value is None:
        where["tombstone"] = True
    return {**seen.value, "_record": where}


def line(seen: Seen) -> str:
    """`12:00:01 events.message sales-1 ← 49…@s.whatsapp.net: Hello`"""
    moment = datetime.fromtimestamp(seen.record.timestamp_ms / 1000).astimezone()
    text = plain(_summary(seen))
    text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return f"{moment:%H:%M:%S} {seen.topic} {plain(seen.instance)} {text}"


def _summary(seen: Seen) -> str:
    value = seen.value
    if seen.fault is not None:
        return f"cannot be decoded: {seen.fault.message}"
    if seen.record.value is None:
        return "deleted"
    if not value:
        return f"{len(seen.record.value)} bytes"
    summary = _SUMMARIES.get(seen.topic)
    return as_json(value) if summary is None else summary(value)


def _message(value: dict[str, Any]) -> str:
    arrow = {"in": "←", "out": "→"}.get(value["direction"], "·")
    content = value["content"]
    text = content["text"] or content["reaction"] or f"[{content['type']}]"
    kind = "" if value["kind"] == "message.new" else f" {value['kind'].removeprefix('message.')}"
    return f"{arrow} {value['key']['chat']}{kind}: {text}"


def _status(value: dict[str, Any]) -> str:
    return f"{value['message_id']} {value['status']} {value['chat']['jid']}"


def _session(value: dict[str, Any]) -> str:
    what = value["kind"].removeprefix("session.") if value["state"] == "unknown" else value["state"]
    return f"{what}{': ' + value['reason'] if value['reason'] else ''}"


def _result(value: dict[str, Any]) -> str:
    error = value["error"]
    reason = f" {error['code']}: {error['message']}" if error else ""
    mark = " (final)" if value["final"] else ""
    return f"{value['command_id']} {value['state']}{mark}{reason}"


def _command(value: dict[str, Any]) -> str:
    text = (value["content"] or {}).get("text") or ""
    return f"{value['command_id']} {value['type']} {value['to'] or ''} {text}".rstrip()


def _pairing(_: dict[str, Any]) -> str:
    # A code pairs whoever has it: it is shown by `wharf instances pair` only, or on request as JSON.
    return "a code to pair with (--json shows it)"


def _audit(value: dict[str, Any]) -> str:
    error = f": {value['error']['message']}" if value["error"] else ""
    return f"{value['kind']} by {value['actor']} {value['outcome']}{error}"


def _dead_letter(value: dict[str, Any]) -> str:
    origin = f"{value['origin_topic']}[{value['partition']}]@{value['offset']}"
    return f"{origin} {value['code']}: {value['message']}"


_SUMMARIES = {
    "commands": _command,
    "results": _result,
    "events.message": _message,
    "events.status": _status,
    "events.session": _session,
    "pairing": _pairing,
    "audit": _audit,
    "deadletter": _dead_letter,
}
