"""`wharf topics`: the topic table against the cluster."""

from __future__ import annotations

import typer

from compose.cli.cluster import Data, command_settings, require_kafka
from compose.cli.output import Json, print_json, print_table
from core.kafka import topic_admin
from core.kafka.topic_admin import Change

EXIT_DIFFERENT = 1


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Create topics and see what differs from the topic table.", no_args_is_help=True)
    group.command("apply")(apply_topics)
    group.command("diff")(diff_topics)
    app.add_typer(group, name="topics")


def apply_topics(data: Data = None, json: Json = False) -> None:
    """Create missing topics and correct settings. A partition count is never changed."""
    settings = command_settings(data)
    require_kafka(settings)
    _show(topic_admin.apply(settings), json=json, empty="all topics are as they should be")


def diff_topics(data: Data = None, json: Json = False) -> None:
    """Show what `apply` would change; exit code 1 when there is something."""
    settings = command_settings(data)
    require_kafka(settings)
    changes = topic_admin.plan(settings)
    _show(changes, json=json, empty="no difference")
    if changes:
        raise typer.Exit(EXIT_DIFFERENT)


def _show(changes: list[Change], *, json: bool, empty: str) -> None:
    if json:
        for change in changes:
            print_json(
                {
                    "kind": change.kind,
                    "topic": change.topic,
                    "partitions": change.partitions,
                    "config": dict(change.config),
                    "detail": change.detail,
                }
            )
        return
    rows = [(change.kind, change.topic, change.detail or f"{change.partitions} partitions") for change in changes]
    print_table(("change", "topic", "detail"), rows, empty=empty)
