"""How commands print: tables and lines for people, one JSON value per line for scripts."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wide enough that no row is broken where a program reads it.
_PIPE_WIDTH = 10_000

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value per line, for scripts.")]


def stdout() -> Console:
    return Console(highlight=False)


def stderr() -> Console:
    return Console(stderr=True, highlight=False)


def as_json(value: Any) -> str:
    """JSON of a record: bytes as base64."""
    return json.dumps(value, ensure_ascii=False, default=_default)


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: Any) -> None:
    """One line; flushed, so that a script behind a pipe sees it at once."""
    sys.stdout.write(as_json(value) + "\n")
    sys.stdout.flush()


def plain(text: str) -> str:
    """Text of others on our terminal: nothing in it moves the cursor or sets colours."""
    return "".join(char if char.isprintable() else " " for char in text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or one line when there is nothing to show."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else plain(str(cell))) for cell in row))
    console = stdout()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(table if table.row_count else empty, markup=False)
