"""Tables that come along with a query, kept in files until the query begins and gone when it ends."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from analytics.embedded.blocks import Column
from analytics.embedded.engine import Engine, Session
from analytics.embedded.errors import ProtocolError, ServerError
from analytics.embedded.link import Link
from analytics.embedded.packets import FromClient
from analytics.embedded.quoting import quote_name
from analytics.embedded.spool import Spooled

MAX_TABLES: Final = 100


class Tables:
    """Leaving drops the files; `drop` the tables of a session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: dict[str, tuple[tuple[Column, ...], Spooled]] = {}
        self._made: list[str] = []
        self._failure: ServerError | None = None

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, rows in self._found.values():
            rows.drop()

    def __bool__(self) -> bool:
        return bool(self._found)

    def read(self, link: Link) -> None:
        """All of them, up to the empty block."""
        while True:
            if link.next_kind() != FromClient.DATA:
                raise ProtocolError("behind a query come its tables and an empty block")
            name, block = link.read_data()
            if not block.columns:
                return
            columns, rows = self._found.setdefault(name, (block.columns, self._engine.spooled()))
            if columns != block.columns or len(self._found) > MAX_TABLES:
                raise ProtocolError(f"the blocks of the table {name[:60]} differ, or there are more than {MAX_TABLES}")
            try:
                if block.rows and self._failure is None:
                    rows.append(block.native)
            except ServerError as error:
                # Told when all was read, so that the connection can go on.
                self._failure = error

    def make(self, session: Session) -> None:
        if self._failure is not None:
            raise self._failure
        for name, (columns, rows) in self._found.items():
            declared = ", ".join(f"{quote_name(column.name)} {column.type}" for column in columns)
            session.run(f"CREATE TEMPORARY TABLE {quote_name(name)} ({declared})")
            self._made.append(name)
            if rows.size:
                session.insert_from(f"INSERT INTO {quote_name(name)}", rows, "", "Native")

    def drop(self, session: Session) -> None:
        for name in self._made:
            session.run(f"DROP TEMPORARY TABLE IF EXISTS {quote_name(name)}")
