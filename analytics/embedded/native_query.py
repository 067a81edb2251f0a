"""One query of the native protocol, from its text to EndOfStream."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from analytics.embedded import blocks, packets, statements, types
from analytics.embedded.blocks import Block, Column
from analytics.embedded.cache import Caching
from analytics.embedded.engine import Session
from analytics.embedded.errors import NO_SUCH_COLUMN, QUERY_WAS_CANCELLED, Disconnected, ProtocolError, ServerError
from analytics.embedded.lexer import tokens
from analytics.embedded.link import Link
from analytics.embedded.native_tables import Tables
from analytics.embedded.packets import Counts, FromClient
from analytics.embedded.service import Service
from analytics.embedded.statements import Insert, Kind, Statement
from analytics.embedded.wire import Budget, Reader
from core.telemetry.metrics import CLICKHOUSE_INSERTED_ROWS

# Not filled by an INSERT that names no columns.
_COMPUTED = ("MATERIALIZED", "ALIAS", "EPHEMERAL")
_MAX_RESULT = 1 << 40


class NativeQuery:
    """Runs in the connection's thread. `session` is this query's alone while it runs."""

    def __init__(self, service: Service, link: Link, session: Session, caching: Caching | None = None) -> None:
        self._service = service
        self._link = link
        self._session = session
        self._caching = caching
        self._counts = Counts()
        self._cancelled = False

    def run(self, sql: str, tables: Tables, most: int) -> Kind:
        """Sends everything but what ends the answer: EndOfStream, or the exception that is raised."""
        statement = statements.parse(sql.encode("utf-8", "surrogateescape").decode("latin-1"), most)
        try:
            tables.make(self._session)
            if statement.kind is Kind.INSERT and statement.insert is not None:
                self._insert(statement, statement.insert)
            else:
                self._watched(statement)
        except ServerError as error:
            if not (self._cancelled and error.code == QUERY_WAS_CANCELLED):
                raise
        finally:
            tables.drop(self._session)
        return statement.kind

    # --- rows out -------------------------------------------------------------------------------------------------

    def _watched(self, statement: Statement) -> None:
        if self._link.wants_to_stop():
            return
        self._session.watch_progress(self._on_progress)
        try:
            with self._service.watcher.watching(self._link.peer, self._on_sign):
                self._execute(statement)
        finally:
            self._session.watch_progress(None)

    def _on_sign(self) -> None:
        if self._link.wants_to_stop():
            self._cancelled = True
            self._session.kill()

    def _on_progress(self, told: Mapping[str, int]) -> None:
        """The engine calls this in the query's thread."""
        self._counts = Counts(
            told["read_rows"],
            told["read_bytes"],
            told["total_rows_to_read"],
            told["written_rows"],
            told["written_bytes"],
        )
        self._link.send_progress(self._counts)

    def _execute(self, statement: Statement) -> None:
        bare = statement.bare.encode("latin-1").decode("utf-8", "surrogateescape")
        if statement.kind is Kind.SELECT:
            self._select(bare)
        else:
            ask = self._session.change if statement.kind is Kind.WRITE else self._session.run
            self._all_at_once(ask(bare))

    def _select(self, sql: str) -> None:
        rows = sent = size = 0
        answer = self._service.cache.answer(self._caching, sql, "Native", {}, lambda: self._session.stream(sql))
        with closing(answer) as stream:
            for native in stream:
                # Clients set themselves up by a block without rows.
                if not sent and (columns := _columns(native)):
                    self._link.send_header(columns)
                self._link.send_progress(self._counts)
                self._link.send_block(native)
                rows, sent, size = rows + _rows_of(native), sent + 1, size + len(native)
                if self._cancelled:
                    return
        if not sent and not self._cancelled:
            self._link.send_header(self._described(sql))
        self._end(rows, sent, size)

    def _described(self, sql: str) -> tuple[Column, ...]:
        # What this reads is not the query's: counts never go back.
        self._session.watch_progress(None)
        return tuple(column for column, _ in self._session.columns_of(f"({sql})"))

    def _all_at_once(self, native: bytes) -> None:
        if not native:
            self._link.send_progress(self._counts, at_once=True)
            return
        rows = sent = 0
        for block in split(native):
            if not sent:
                self._link.send_header(block.columns)
            self._link.send_block(block.native)
            rows, sent = rows + block.rows, sent + 1
        self._end(rows, sent, len(native))

    def _end(self, rows: int, sent: int, size: int) -> None:
        self._link.send_progress(self._counts, at_once=True)
        self._link.send(packets.profile_info(rows, sent, size))

    # --- rows in --------------------------------------------------------------------------------------------------

    def _insert(self, statement: Statement, insert: Insert) -> None:
        if inline := statements.inline_data(statement.bare, insert):
            insertion = self._session.insert(insert, insert.format)
            insertion.append(inline)
            insertion.finish()
            return
        columns = self._insert_columns(insert)
        for column in columns:
            # Refused before the client sends a block whose end could not be found.
            types.shape(column.type)
        self._link.send_header(columns)
        failure = self._take_blocks(insert)
        if failure is not None:
            raise failure

    def _insert_columns(self, insert: Insert) -> tuple[Column, ...]:
        target = insert.target.encode("latin-1").decode("utf-8", "surrogateescape")
        described = self._session.columns_of(target)
        if not insert.columns:
            return tuple(column for column, default in described if default not in _COMPUTED)
        names = _plain_names(insert.columns)
        if names is None:
            columns = insert.columns.encode("latin-1").decode("utf-8", "surrogateescape")
            return tuple(column for column, _ in self._session.columns_of(f"(SELECT {columns} FROM {target})"))
        known = {column.name: column for column, _ in described}
        for name in names:
            if name not in known:
                raise ServerError(NO_SUCH_COLUMN, f"No such column {name} in table {target}. (NO_SUCH_COLUMN_IN_TABLE)")
        return tuple(known[name] for name in names)

    def _take_blocks(self, insert: Insert) -> ServerError | None:
        """Blocks until the empty one. After a failure the rest is read and dropped, so that the answer is read, too."""
        insertion = self._session.insert(insert, "Native")
        failure: ServerError | None = None
        has_rows = False
        try:
            while True:
                kind = self._link.next_kind()
                if kind == FromClient.CANCEL:
                    return None
                if kind != FromClient.DATA:
                    raise ProtocolError(f"packet {kind} between the blocks of an INSERT")
                _, block = self._link.read_data()
                if not block.columns:
                    break
                if failure is None and block.rows:
                    has_rows = True
                    try:
                        insertion.append(block.native)
                    except ServerError as error:
                        failure = error
            if failure is None and has_rows:
                rows, size = insertion.finish()
                self._service.metrics.counter(CLICKHOUSE_INSERTED_ROWS).inc(rows)
                self._link.send_progress(Counts(written_rows=rows, written_bytes=size), at_once=True)
            return failure
        finally:
            insertion.cancel()


def _columns(native: bytes) -> tuple[Column, ...]:
    """Names and types of a block; none when it holds what cannot be walked (JSON, say): it goes without a header."""
    try:
        return blocks.read_native(over(native)).columns
    except (ServerError, Disconnected):
        return ()


def _rows_of(native: bytes) -> int:
    """The second number of a Native block."""
    reader = over(native)
    reader.varint()
    return reader.varint()


def over(data: bytes) -> Reader:
    """A reader of bytes that are here already."""
    parts = [data]
    return Reader(lambda: parts.pop() if parts else b"", Budget(_MAX_RESULT), _MAX_RESULT)


def split(native: bytes) -> list[Block]:
    """The blocks of a result that came at once."""
    reader = over(native)
    found: list[Block] = []
    try:
        while True:
            found.append(blocks.read_native(reader))
    except Disconnected:
        if reader.buffered:
            raise
        return found


def _plain_names(columns: str) -> list[str] | None:
    """The names of `a, b, \\`c d\\``; None when there is more to it, such as EXCEPT or a column of a Nested."""
    out: list[str] = []
    expect_name = True
    for token in tokens(columns):
        if expect_name and token.kind in ("word", "name"):
            out.append(token.text.encode("latin-1").decode("utf-8", "surrogateescape"))
        elif expect_name or not token.is_sign(","):
            return None
        expect_name = not expect_name
    return out if out and not expect_name else None
