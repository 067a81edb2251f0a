"""How `wharf status` looks in a terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.markup import escape
from rich.table import Table

from compose.cli.output import stdout
from compose.stack.component import State

MARKS = {
    State.WAITING: "[dim]…[/]",
    State.STARTING: "[yellow]…[/]",
    State.READY: "[green]✓[/]",
    State.DONE: "[green]✓[/]",
    State.EXTERNAL: "[green]✓[/]",
    State.RESTARTING: "[red]✗[/]",
    State.STOPPED: "[dim]·[/]",
}


def print_status(report: dict[str, Any]) -> None:
    if report["running"]:
        marked = "; [yellow]the WhatsApp behind it is simulated[/]" if report["simulated"] else ""
        stdout().print(f"stack with pid {report['pid']} on {report['data_dir']}{marked}", soft_wrap=True)
        stdout().print(components_table(report["components"]))
    else:
        stdout().print(f"no stack runs on {report['data_dir']}; what Kafka and the log tell:", soft_wrap=True)
    if report["partitions"]:
        stdout().print(partitions_table(report["partitions"]))
    if report["instances"]:
        stdout().print(instances_table(report["instances"]))
    if report.get("lag"):
        stdout().print(lag_table(report["lag"]))


def components_table(components: list[dict[str, Any]]) -> Table:
    table = _table("component", "state", "pid", "restarts", "address", "health")
    for part in components:
        state = State(part["state"])
        table.add_row(
            part["name"],
            f"{MARKS[state]} {state}",
            str(part["pid"] or ""),
            str(part["restarts"] or ""),
            part["address"],
            escape(part["error"] or health_line(part)),
        )
    return table


def partitions_table(partitions: list[dict[str, Any]]) -> Table:
    table = _table("partition", "owner", "standby", "epoch", "lag")
    for row in partitions:
        table.add_row(
            str(row["partition"]),
            owner_line(row),
            escape(", ".join(row["standby"])),
            _number(row.get("epoch")),
            _number(row["lag"]),
        )
    return table


def owner_line(row: dict[str, Any]) -> str:
    """The slot of the last claim, and what is about to change."""
    owner = escape(row["owner"]) if row["owner"] else "[yellow]nobody[/]"
    gone = " [red]gone[/]" if row["gone"] else ""
    taken = [f" [yellow]{escape(slot)} takes over[/]" for slot in row["taking_over"]]
    return owner + gone + "".join(taken)


def instances_table(instances: list[dict[str, Any]]) -> Table:
    table = _table(
        "instance", "state", "for", "owner", "standby", "partition", "epoch", "lag", "queue", "last error", "next step"
    )
    for session in instances:
        simulated = " [yellow]simulated[/]" if session.get("simulated") else ""
        table.add_row(
            f"{escape(session['instance_id'])}{simulated}",
            str(session["state"]),
            since(session.get("since_ms")),
            escape(str(session.get("slot") or "")),
            escape(", ".join(session.get("standby", ()))),
            str(session.get("partition", "")),
            _number(session.get("epoch")),
            _number(session.get("lag")),
            str(session.get("queue", "")),
            escape(str(session.get("last_error") or "")),
            escape(str(session.get("next_step") or "")),
        )
    return table


def lag_table(lag: list[dict[str, Any]]) -> Table:
    table = _table("group", "topic", "lag")
    for row in lag:
        table.add_row(row["group"], row["topic"], str(row["lag"]))
    return table


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def health_line(part: dict[str, Any]) -> str:
    """`ok`, or what is wrong in one line."""
    if part["healthy"]:
        return "ok"
    health = part["health"]
    failing = [
        f"{name}: {check.get('detail') or check.get('status')}"
        for name, check in health.get("checks", {}).items()
        if check.get("status") != "ok"
    ]
    return "; ".join(failing) or str(health.get("error", ""))


def since(epoch_ms: int | None) -> str:
    if not epoch_ms:
        return ""
    seconds = max(0, int(time.time() - epoch_ms / 1000))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
