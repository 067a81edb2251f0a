"""The live view in the terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from compose.cli.stack_view import components_table, instances_table, lag_table
from compose.demo.meter import Meter
from compose.demo.traffic import Figures


def render(report: dict[str, Any], figures: Figures) -> RenderableType:
    """One screen: sessions, what passes, lag, the last messages, where to look further."""
    now = time.monotonic()
    parts: list[RenderableType] = [
        Panel(instances_table(report["instances"]), title="instances", title_align="left"),
        Panel(_passing(figures, now), title="messages", title_align="left"),
    ]
    unwell = [part for part in report["components"] if not part["healthy"] or part["restarts"]]
    if unwell:
        parts.append(Panel(components_table(unwell), title="processes", title_align="left", border_style="red"))
    lagging = [row for row in report["lag"] if row["lag"]]
    parts.append(Panel(lag_table(lagging) if lagging else "none", title="lag", title_align="left"))
    parts.append(
        Panel("\n".join(escape(line) for line in figures.last) or "…", title="last messages", title_align="left")
    )
    if figures.error:
        parts.append(f"[red]{escape(figures.error)}[/]")
    parts.append(where(report))
    return Group(*parts)


def where(report: dict[str, Any]) -> str:
    """Where logs, topics and metrics are."""
    address = {part["name"]: part["address"] for part in report["components"]}
    return (
        f"[dim]Kafka {address['kafka']} (wharf tail events.message --data … or any client) · registry {address['registry']}\n"
        f"metrics {address['connector-1']}/metrics · logs {report['data_dir']}/logs · the WhatsApp behind this is simulated\n"
        "Ctrl-C stops everything[/]"
    )


def _passing(figures: Figures, now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "per second", "p50", "p99", "in all", "measured"):
        table.add_column(column)
    table.add_row("in", *_figures(figures.inward, now), "contact sends → event is committed")
    table.add_row("out", *_figures(figures.outward, now), "command → result, acknowledged by WhatsApp")
    return table


def _figures(meter: Meter, now: float) -> tuple[str, ...]:
    return f"{meter.rate(now):.1f}", _ms(meter.quantile(0.5)), _ms(meter.quantile(0.99)), str(meter.total)


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"
