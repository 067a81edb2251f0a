"""`wharf schemas`: our Avro schemas against the registry."""

from __future__ import annotations

import typer

from compose.cli.cluster import Data, command_settings
from compose.cli.output import Json, print_json, print_table, stdout
from schemas import apply as deploy
from schemas.apply import Outcome, Report

EXIT_REFUSED = 1


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Register the Avro schemas, or see what would be refused.", no_args_is_help=True)
    group.command("apply")(apply_schemas)
    group.command("check")(check_schemas)
    app.add_typer(group, name="schemas")


def apply_schemas(data: Data = None, json: Json = False) -> None:
    """Register all schemas, each subject FULL_TRANSITIVE; nothing when one would be refused (exit code 1)."""
    _show(deploy.apply(command_settings(data)), json=json)


def check_schemas(data: Data = None, json: Json = False) -> None:
    """Say field by field what the registry would refuse, and why; exit code 1 when there is something."""
    _show(deploy.check(command_settings(data)), json=json)


def _show(reports: list[Report], *, json: bool) -> None:
    if json:
        for report in reports:
            print_json(report.as_dict())
    else:
        rows = [(r.subject, r.outcome.value, r.version or "", r.schema_id or "") for r in reports]
        print_table(("subject", "outcome", "version", "id"), rows, empty="there are no schemas")
        for report in reports:
            for reason in report.reasons:
                stdout().print(f"{report.subject}: {reason}", markup=False, soft_wrap=True)
    if any(report.outcome is Outcome.REFUSED for report in reports):
        raise typer.Exit(EXIT_REFUSED)
