"""How commands print: tables and lines for people, one JSON value per line for scripts."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.errors import APIError

# Wide enough that no row is broken where a program reads it.
_PIPE_WIDTH = 10_000
STANDARD_OUTPUT = Path("-")

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


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that is there when it is whole; `-` is standard output. APIError where it cannot be written."""
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with _replaced(path) as file:
            yield file
    except OSError as cause:
        text = f"{path} cannot be written: {cause.strerror or cause}"
        raise APIError("api.validation", text, field="output") from cause


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of the old one; a link stays one, a device or a pipe is written to."""
    target = path.resolve()
    is_plain = target.is_file() or not target.exists()
    draft = target.with_name(f".{target.name}.{os.getpid()}.part") if is_plain else target
    try:
        with draft.open("wb") as file:
            yield file
        if is_plain:
            draft.replace(target)
    finally:
        if is_plain and draft.exists():
            draft.unlink()


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
