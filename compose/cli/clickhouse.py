"""`wharf clickhouse`: the tables against the migrations; compose.cli.repair has what puts their rows right."""

from __future__ import annotations

import typer

from analytics.schema import migrate as migrations
from compose.cli import repair
from compose.cli.cluster import Data, command_settings, note
from compose.cli.output import Json, print_json, print_table


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Make the tables of ClickHouse, see what is missing, put right what was lost.", no_args_is_help=True
    )
    group.command("migrate")(migrate)
    group.command("status")(status)
    group.command("rebuild", epilog=repair.REBUILD_EXAMPLES)(repair.rebuild)
    group.command("replay", epilog=repair.REPLAY_EXAMPLES)(repair.replay)
    app.add_typer(group, name="clickhouse")


def migrate(data: Data = None, json: Json = False) -> None:
    """Run the migrations that are missing, one migrator at a time, and set how long rows are kept."""
    done = migrations.migrate(command_settings(data).clickhouse, tell=(lambda _text: None) if json else note)
    if json:
        for one in done:
            print_json({"number": one.number, "name": one.name})
    elif not done:
        note("all migrations are there")


def status(data: Data = None, json: Json = False) -> None:
    """Show the migrations; exit code 1 when one is missing."""
    rows = migrations.status(command_settings(data).clickhouse)
    if json:
        for row in rows:
            print_json({"number": row.number, "name": row.name, "applied": row.applied})
    else:
        print_table(
            ("number", "name", "applied"), [(r.number, r.name, "yes" if r.applied else "no") for r in rows], empty=""
        )
    if not all(row.applied for row in rows):
        raise typer.Exit(1)
