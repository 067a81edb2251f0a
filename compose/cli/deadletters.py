"""`wharf deadletters`: what could not be processed, and why."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from compose.cli.cluster import Cluster, Data, Seen, command_settings
from compose.cli.commands import now_ms
from compose.cli.output import Json, print_json, print_table
from compose.cli.tail import full, parse_start
from core.envelope import rfc3339
from core.errors import APIError
from core.kafka.dump import Offset

TOPIC = "deadletter"
_PLACE = re.compile(r"(\d+):(\d+)")


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What could not be processed, and why.", no_args_is_help=True)
    group.command("list", epilog="[bold]Example[/]\n\nwharf deadletters list --from 1d --instance sales-1")(
        list_letters
    )
    group.command("show", epilog="[bold]Example[/]\n\nwharf deadletters show 3:17")(show)
    app.add_typer(group, name="deadletters")


def list_letters(
    instance: Annotated[str | None, typer.Option("--instance", "-i", help="Only those of this instance.")] = None,
    start: Annotated[
        str, typer.Option("--from", help="beginning, a time, a span like 1d, or an offset.")
    ] = "beginning",
    data: Data = None,
    json: Json = False,
) -> None:
    """List dead letters, oldest first."""
    letters = [
        seen
        for seen in Cluster(command_settings(data)).read([TOPIC], parse_start(start, now_ms()))
        if seen.value and (instance is None or seen.instance == instance)
    ]
    letters.sort(key=lambda seen: (seen.value["at"], seen.record.partition, seen.record.offset))
    if json:
        for seen in letters:
            print_json(full(seen))
        return
    rows = [
        (_place(seen), rfc3339(seen.value["at"]), _origin(seen.value), seen.value["code"], seen.value["message"])
        for seen in letters
    ]
    print_table(("letter", "at", "origin", "code", "message"), rows, empty="no dead letters")


def show(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="The letter as `list` names it, PARTITION:OFFSET.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """Show one dead letter with its value."""
    place = _PLACE.fullmatch(letter)
    if place is None:
        raise APIError("api.validation", f"{letter}: PARTITION:OFFSET is expected, as in 3:17", field="letter")
    partition, offset = int(place[1]), int(place[2])
    for seen in Cluster(command_settings(data)).read([TOPIC], Offset(offset)):
        if (seen.record.partition, seen.record.offset) == (partition, offset):
            _print(seen, json=json)
            return
    raise APIError("api.not_found", f"there is no dead letter {letter}; `wharf deadletters list` shows all")


def _print(seen: Seen, *, json: bool) -> None:
    if json:
        print_json(full(seen))
        return
    value = seen.value
    facts = {
        "origin": _origin(value),
        "at": rfc3339(value["at"]),
        "written": rfc3339(value["timestamp"]),
        "process": value["process"],
        "attempts": value["attempts"],
        "code": value["code"],
        "field": value["field"],
        "message": value["message"],
        "key": readable(value["key"]),
        "headers": ", ".join(f"{header['name']}={readable(header['value'])}" for header in value["headers"]),
        "value": readable(value["value"]),
    }
    print_table(("field", "value"), facts.items(), empty="")


def _place(seen: Seen) -> str:
    return f"{seen.record.partition}:{seen.record.offset}"


def _origin(value: dict[str, Any]) -> str:
    return f"{value['origin_topic']}[{value['partition']}]@{value['offset']}"


def readable(value: bytes | None) -> str:
    """Text where it is text, hexadecimal digits where it is not."""
    if value is None:
        return ""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"hex {value.hex()}"
    return text if text.isprintable() else f"hex {value.hex()}"
