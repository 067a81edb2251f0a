"""`wharf query`: ask ClickHouse by a query's name, or in SQL."""

from __future__ import annotations

import csv
import io
import re
import sys
from contextlib import redirect_stdout
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from analytics.queries import instances
from analytics.queries import run as runner
from analytics.queries.export import export
from analytics.queries.named import Query, queries
from analytics.queries.run import Answer
from compose.cli.cluster import Data, command_settings, note
from compose.cli.commands import now_ms
from compose.cli.output import STANDARD_OUTPUT, print_json, print_table, stderr, written
from core.errors import APIError

_NAME = re.compile(r"[A-Za-z_]\w*")


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    app.command("query", epilog="[bold]Example[/]\n\nwharf query funnel --param instance=sales-1 --param from=7d")(
        query
    )


def query(
    what: Annotated[str, typer.Argument(metavar="list|NAME|SQL", help="`list`, the name of a query, or a statement.")],
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE, as often as needed.")] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print.")] = Format.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there; - is standard output.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run a named query even if its answer is some seconds old.")
    ] = False,
    data: Data = None,
) -> None:
    """Ask ClickHouse: read only, within limits of time, memory and rows."""
    given = _given(param or [])
    target = _target(output, format)
    if what == "list":
        if format is Format.PARQUET:
            raise APIError("api.validation", "the list of queries is no Parquet; table, csv or json", field="format")
        show(Answer(("query", "parameters", "answers"), [_line(one) for one in queries().values()]), format, target)
        return
    named = queries().get(what)
    if named is None and _NAME.fullmatch(what):
        raise APIError("api.not_found", f"no query is named {what}; `wharf query list` shows all")
    settings = command_settings(data).clickhouse
    kept = 0 if no_cache or named is None or format is Format.PARQUET else settings.cache_seconds
    sql, values = (what, given) if named is None else (named.sql, named.values(given, now_ms(), kept))
    if format is Format.PARQUET:
        with written(target) as file, stderr().status("asking ClickHouse"):
            size = export(settings, sql, values, file)
        if target != STANDARD_OUTPUT:
            note(f"{target} written: {size / 1024:,.0f} KiB")
        return
    with stderr().status("asking ClickHouse"):
        answer = runner.run(settings, sql, values, cache_seconds=kept)
    if not answer.rows and (instance := values.get("instance")):
        instances.check(instance, instances.known(settings))
    show(answer, format, target)


def show(answer: Answer, format: Format, target: Path) -> None:
    if target == STANDARD_OUTPUT:
        _print(answer, format)
        return
    with (
        written(target) as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True) as text,
        redirect_stdout(text),
    ):
        _print(answer, format)


def _print(answer: Answer, format: Format) -> None:
    match format:
        case Format.TABLE:
            rows = [[_text(cell) for cell in row] for row in answer.rows]
            print_table(answer.columns, rows, empty="no rows")
        case Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(answer.columns)
            writer.writerows([[_text(cell) for cell in row] for row in answer.rows])
        case Format.JSON:
            for row in answer.rows:
                print_json({name: _plain(cell) for name, cell in zip(answer.columns, row, strict=True)})


def _target(output: Path | None, format: Format) -> Path:
    target = STANDARD_OUTPUT if output is None else output
    if target == STANDARD_OUTPUT and format is Format.PARQUET and sys.stdout.isatty():
        text = "Parquet is no text for a terminal: name a file by -o FILE, or write to a pipe"
        raise APIError("api.validation", text, field="format")
    return target


def _given(params: list[str]) -> dict[str, str]:
    out = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise APIError("api.validation", f"--param {text}: NAME=VALUE is expected", field="param")
        out[name] = value
    return out


def _line(named: Query) -> tuple[str, str, str]:
    params = ", ".join(one.name if one.default is None else f"[{one.name}]" for one in named.params)
    return named.name, params, named.answers


def _plain(cell: Any) -> Any:
    """JSON's own types; a time in UTC with milliseconds."""
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(cell, date | UUID):
        return str(cell)
    if isinstance(cell, list | tuple):
        return [_plain(one) for one in cell]
    if isinstance(cell, dict):
        return {str(name): _plain(value) for name, value in cell.items()}
    return cell if isinstance(cell, str | int | float | bool | None) else str(cell)


def _text(cell: Any) -> str:
    plain = _plain(cell)
    if isinstance(plain, list):
        return " / ".join(str(one) for one in plain)
    return "" if plain is None else str(plain)
