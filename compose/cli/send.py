"""`wharf send`: one text message."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from compose.cli.cluster import Cluster, Data, Timeout, command_settings
from compose.cli.commands import GOOD, command, failure, follow
from compose.cli.output import Json, print_json, stdout
from core.errors import APIError
from core.jid import parse_jid, parse_recipient

EXAMPLES = """
[bold]Examples[/]

wharf send sales-1 +4915123456789 "Your order is on its way"

wharf send sales-1 120363000000000001@g.us "Hello all" --wait

wharf send sales-1 "+49 151 23456789" "Yes" --quote 3EB0A1B2C3 --id order-1001

wharf send sales-1 120363000000000001@g.us "@4915123456789 all done" --mention +4915123456789
"""


def register(app: typer.Typer) -> None:
    app.command("send", epilog=EXAMPLES)(send)


def send(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance that sends.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="Phone number, c.us address or JID.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it says.")],
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for the final result; exit code 1 unless sent.")
    ] = False,
    command_id: Annotated[
        str | None, typer.Option("--id", help="Command id, the idempotency key: the same id sends once in 72 hours.")
    ] = None,
    quote: Annotated[str | None, typer.Option("--quote", help="Id of the message to answer.")] = None,
    quote_sender: Annotated[
        str | None, typer.Option("--quote-sender", help="Its author; needed in groups, else the chat itself.")
    ] = None,
    mention: Annotated[
        list[str] | None,
        typer.Option("--mention", help="Somebody the text mentions, as @ and the digits of the number; repeatable."),
    ] = None,
    mention_all: Annotated[bool, typer.Option("--mention-all", help="Mention everybody in the group.")] = False,
    lane: Annotated[str, typer.Option("--lane", help="auto, reply or cold.")] = "auto",
    timeout: Timeout = 60.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Send a text message: prints the command id, with --wait the result."""
    recipient = parse_recipient(to, "TO")
    context: dict[str, Any] = {}
    if quote is not None:
        sender = None if quote_sender is None else str(parse_recipient(quote_sender, "--quote-sender"))
        context["quoted"] = {"key": {"chat": str(recipient), "sender": sender, "id": quote}}
    elif quote_sender is not None:
        raise APIError("api.validation", "--quote-sender goes with --quote", field="--quote-sender")
    if mention:
        context["mentions"] = [str(parse_recipient(who, "--mention")) for who in mention]
    if mention_all:
        context["mention_all"] = True
    content: dict[str, Any] = {"type": "text", "text": text, "context": context or None}
    record = command(command_id or str(uuid.uuid4()), instance, "send", to=str(recipient), content=content, lane=lane)
    cluster = Cluster(command_settings(data))
    if not wait:
        cluster.produce("commands", instance, record)
        if json:
            print_json({"command_id": record["command_id"]})
        else:
            stdout().print(record["command_id"])
        return
    final: dict[str, Any] = {}
    for seen in follow(cluster, record, timeout):
        final = seen.value
        if json:
            print_json(final)
        else:
            stdout().print(_line(final), markup=False, soft_wrap=True)
    if final["state"] not in GOOD:
        raise failure(final)


def _line(result: dict[str, Any]) -> str:
    """`sent 3EB0… to 49…@s.whatsapp.net (command …)`"""
    message = f" {result['message_id']}" if result["message_id"] else ""
    chat = f" to {parse_jid(result['chat'])}" if result["chat"] else ""
    return f"{result['state']}{message}{chat} (command {result['command_id']})"
