"""Pairing in a terminal: the QR code as it changes, or the code to type, until the pair command has its final result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qrcode
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from compose.cli.cluster import Cluster
from compose.cli.commands import follow
from compose.cli.output import print_json, stdout

# Upper and lower half of a character cell: two rows of the code in one line.
_CELLS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def watch(cluster: Cluster, record: dict[str, Any], seconds: float, *, json: bool) -> dict[str, Any]:
    """The final result; what there is to scan or type is shown on the way."""
    console = stdout()
    if json or not console.is_terminal:
        return _follow(cluster, record, seconds, _print_json if json else _printer(console))
    console.print("On the phone: Settings, Linked devices, Link a device.", style="dim")
    # Transient: a code that was used is a secret nobody needs on the screen. Visible: half a code is no use.
    with Live(
        Text("waiting for a code …"), console=console, transient=True, auto_refresh=False, vertical_overflow="visible"
    ) as live:
        return _follow(cluster, record, seconds, lambda event: live.update(_view(event), refresh=True))


def _follow(
    cluster: Cluster, record: dict[str, Any], seconds: float, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    final: dict[str, Any] = {}
    for seen in follow(cluster, record, seconds, also=["pairing"]):
        if seen.topic == "results":
            final = seen.value
        elif seen.value and seen.value["command_id"] in (None, record["command_id"]):
            show(seen.value)
    return final


def _print_json(event: dict[str, Any]) -> None:
    print_json({name: event[name] for name in ("qr", "code", "expires_at", "index", "total")})


def _printer(console: Console) -> Callable[[dict[str, Any]], None]:
    def show(event: dict[str, Any]) -> None:
        console.print(event["code"] or event["qr"], markup=False, soft_wrap=True)

    return show


def _view(event: dict[str, Any]) -> Group:
    if event["code"]:
        text = event["code"]
        shown = f"{text[:4]}-{text[4:]}" if len(text) == 8 else text
        return Group(Text("Choose “Link with phone number instead” and type"), Text(shown, style="bold"))
    return Group(
        draw(event["qr"]), Text(f"code {event['index']} of {event['total']}; it changes by itself", style="dim")
    )


def draw(text: str) -> Text:
    """A QR code that scans on dark and light terminals: black on white by itself."""
    code = qrcode.QRCode(border=2, error_correction=qrcode.ERROR_CORRECT_L)
    code.add_data(text)
    rows = [list(row) for row in code.get_matrix()]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    lines = [
        "".join(_CELLS[bool(up), bool(down)] for up, down in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    return Text("\n".join(lines), style="#000000 on #ffffff", no_wrap=True)
