"""`wharf report`: what happened in a period, as one page with charts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from analytics.queries.named import check_period, moment, now_within
from analytics.report.ask import ASKED, ask
from analytics.report.model import Period, Question
from compose.cli.cluster import Data, command_settings, note
from compose.cli.commands import now_ms
from compose.cli.output import STANDARD_OUTPUT, stderr, written


def register(app: typer.Typer) -> None:
    app.command(
        "report",
        epilog="[bold]Examples[/]\n\nwharf report --instance sales-1 --from 7d\n\n"
        "wharf report --from 2026-03-01 --to 2026-04-01 -o march.html",
    )(report)


def report(
    instance: Annotated[
        str, typer.Option("--instance", "-i", metavar="NAME", help="Of this instance; else of all.")
    ] = "",
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="A time (UTC), or a span back from now like 12h or 30d.")
    ] = "30d",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="The same, or now.")] = "now",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write there; - is standard output.")
    ] = Path("report.html"),
    data: Data = None,
) -> None:
    """Write one HTML page with charts: volume, delivery, answers, contacts, failures, limits, campaigns, uptime.

    The page needs no network and no script. Its numbers are those of the named queries; it says which.
    """
    at_ms = now_ms()
    now = now_within(at_ms)
    period = Period(moment("from", since, now), moment("to", until, now))
    check_period(period.begin, period.end)
    question = Question(instance, period)
    settings = command_settings(data).clickhouse
    with written(output) as file, stderr().status("") as status:
        told = ask(settings, question, lambda n, name: status.update(f"asking {n} of {len(ASKED)}: {name}"))
        status.update("drawing")
        # Loads 80 MB of library: not before there is something to draw.
        from analytics.report.build import build

        page = build(question, told, datetime.fromtimestamp(at_ms / 1000, UTC)).encode()
        file.write(page)
    if output != STANDARD_OUTPUT:
        note(f"{output} written: {len(page) / 1024:,.0f} KiB; open it in a browser")
