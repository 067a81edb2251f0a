"""The engine of this process, and sessions of it: the only module that knows chDB.

chDB locks its directory to one process and hangs in a forked child. A session runs one statement at a time; sessions run
in parallel. A running statement is stopped from outside by KILL QUERY, which finds it by its `log_comment`.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from analytics.embedded.access import HARMLESS_TABLE_FUNCTIONS, reaches_beyond
from analytics.embedded.blocks import Column
from analytics.embedded.disk import Disk
from analytics.embedded.errors import SYNTAX_ERROR, TOO_MANY_ROWS_OR_BYTES, ServerError, from_engine
from analytics.embedded.quoting import quote, quote_name
from analytics.embedded.reading import Beyond
from analytics.embedded.spool import Spooled
from analytics.embedded.statements import Insert
from analytics.embedded.upkeep import Upkeep
from analytics.embedded.wire import CHUNK
from core.telemetry.logs import get_logger

# The engine's own failures; chDB raises both.
_FAILURES: tuple[type[Exception], ...] = (RuntimeError,)
Progress = Callable[[Mapping[str, int]], None]


class Insertion:
    """The data of one INSERT, kept in a file until it is complete: then the engine takes all of it or tells why not.

    chDB's own streaming insert is of no use here: its `finish` returns normally when the pipeline has failed (a
    constraint, a full disk), with a count of rows that were never stored. And data behind the statement's text end at
    the first empty line.
    """

    def __init__(self, session: Session, insert: Insert, format_name: str, rows: Spooled) -> None:
        self._session = session
        self._insert = insert
        self._format = format_name
        self._rows = rows

    def append(self, data: bytes | bytearray) -> None:
        self._rows.append(data)

    def finish(self) -> tuple[int, int]:
        """Rows and bytes written."""
        try:
            return self._session.insert_from(self._insert.into, self._rows, self._insert.settings, self._format)
        finally:
            self.cancel()

    def cancel(self) -> None:
        self._rows.drop()


def _check_utf8(sql: str, parameters: Mapping[str, str] | None) -> None:
    """The engine takes texts only; bytes that are none belong into blocks and bodies."""
    for text in (sql, *(parameters or {}).values()):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"the query or a value is not UTF-8 at character {error.start} (SYNTAX_ERROR)"
            raise ServerError(SYNTAX_ERROR, message) from error


class _Taker(threading.Thread):
    """Takes what the engine writes into a pipe. Where it cannot be kept, the query is stopped and the rest dropped."""

    def __init__(self, source: int, into: Spooled, most: int, stop: Callable[[], None]) -> None:
        super().__init__(name="result", daemon=True)
        self._source = source
        self._into = into
        self._most = most
        self._stop_query = stop
        self.failure: ServerError | None = None

    def run(self) -> None:
        while data := os.read(self._source, CHUNK):
            if self.failure is not None:
                continue
            try:
                if self._into.size + len(data) > self._most:
                    raise ServerError(TOO_MANY_ROWS_OR_BYTES, f"the result has more than {self._most} bytes")
                self._into.append(data)
            except ServerError as error:
                self.failure = error
                self._stop()

    def _stop(self) -> None:
        try:
            self._stop_query()
        except Exception as error:  # noqa: BLE001 - a query that cannot be stopped ends once all of its result was taken
            get_logger(__name__).warning("query_not_stopped", error=error)


class Session:
    def __init__(self, engine: Engine, connection: Any) -> None:
        self._engine = engine
        self._connection = connection
        self._mark = uuid.uuid4().hex
        # What columns_of needs to read: a reader's statements may not set anything later.
        self.set({"log_comment": self._mark, "print_pretty_type_names": "0", "describe_compact_output": "0"})

    def close(self) -> None:
        self._connection.close()

    def kill(self) -> None:
        """Stop what this session runs, from another thread."""
        self._engine.kill(self._mark)

    def watch_progress(self, progress: Progress | None) -> None:
        self._connection.set_progress_callback(progress)

    def use(self, database: str) -> None:
        self.run(f"USE {quote_name(database)}")

    def set(self, settings: Mapping[str, str]) -> None:
        wanted = {name: value for name, value in settings.items() if name != "log_comment" or value == self._mark}
        # readonly forbids every later change.
        ordered = sorted(wanted.items(), key=lambda item: item[0] == "readonly")
        for name, _ in ordered:
            if not name.replace("_", "").isalnum():
                raise ServerError(115, f"Unknown setting {name[:100]!r}. (UNKNOWN_SETTING)")
        if ordered:
            self.run("SET " + ", ".join(f"{name} = {quote(value)}" for name, value in ordered))

    def reset(self, names: list[str]) -> None:
        for name in names:
            if name != "log_comment" and not name.startswith("param_"):
                self.run(f"SET {name} = DEFAULT")

    def run(self, sql: str, format_name: str = "Native", parameters: Mapping[str, str] | None = None) -> bytes:
        """All of a statement's result at once."""
        _check_utf8(sql, parameters)
        with self._told():
            result = self._connection.query(sql, format_name, params=dict(parameters or {}))
            return bytes(result.bytes() or b"")

    def change(self, sql: str, format_name: str = "Native", parameters: Mapping[str, str] | None = None) -> bytes:
        """As `run`, for a statement that writes."""
        with self._engine.upkeep.writing():
            return self.run(sql, format_name, parameters)

    def stream(
        self, sql: str, format_name: str = "Native", parameters: Mapping[str, str] | None = None
    ) -> Generator[bytes, None, None]:
        """A SELECT's result as it comes, a block at a time. Closing the iterator stops the query."""
        _check_utf8(sql, parameters)
        with self._told():
            stream = self._connection.send_query(sql, format_name, params=dict(parameters or {}))
        try:
            with self._told():
                for chunk in stream:
                    if data := chunk.bytes():
                        yield bytes(data)
        finally:
            stream.close()

    def write(self, sql: str, format_name: str, parameters: Mapping[str, str], into: Spooled, most: int) -> None:
        """A SELECT's result into a file, by way of a pipe: the engine holds none of it in memory, whatever the format, and
        it is not the engine that writes it to the disk."""
        reading, writing = os.pipe()
        taker = _Taker(reading, into, most, self.kill)
        taker.start()
        try:
            self.run(f"{sql}\nINTO OUTFILE '/dev/fd/{writing}' TRUNCATE FORMAT {format_name}", format_name, parameters)
        except ServerError as error:
            raise taker.failure or error from error
        finally:
            os.close(writing)
            taker.join()
            os.close(reading)
        if taker.failure is not None:
            raise taker.failure
        into.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The engine's failures as ServerError."""
        try:
            yield
        except (*_FAILURES, self._engine.failure) as error:
            raise from_engine(error) from error
        except UnicodeDecodeError as error:
            # Of a failure whose text quotes bytes that are no UTF-8.
            raise from_engine(RuntimeError(error.object.decode("utf-8", "replace"))) from error

    def insert(self, insert: Insert, format_name: str) -> Insertion:
        return Insertion(self, insert, format_name, self._engine.spooled())

    def insert_from(self, into: str, rows: Spooled, settings: str, format_name: str) -> tuple[int, int]:
        rows.close()
        sql = f"{into} FROM INFILE {quote(str(rows.path))} {settings} FORMAT {format_name}"
        _check_utf8(sql, None)
        with self._engine.upkeep.writing(), self._told():
            result = self._connection.query(sql, "Null")
        return int(result.rows_written()), int(result.bytes_written())

    def columns_of(self, described: str) -> tuple[tuple[Column, str], ...]:
        """The columns that DESCRIBE tells, each with how its default is made."""
        rows = json.loads(self.run(f"DESCRIBE TABLE {described}", "JSONCompact"))["data"]
        return tuple((Column(row[0], row[1]), row[2]) for row in rows)


class Engine:
    def __init__(self, folder: Path, config: Path, spool: Path, disk: Disk) -> None:
        """Opens the data below `folder`; the working directory must hold no config.xml."""
        # Loads 530 MB of library: only the process that serves it does.
        import chdb

        self._chdb = chdb
        self.failure: type[Exception] = chdb.ChdbError
        major, minor, patch = chdb.engine_version.split(".")[:3]
        self.version = (int(major), int(minor), int(patch))
        self._spool = spool
        self._disk = disk
        self._target = f"file:{folder}?config-file={config}"
        try:
            # Held open, or the engine would end with its last session.
            self._control = chdb.connect(self._target)
        except _FAILURES as error:
            raise from_engine(error) from error
        self._control_lock = threading.Lock()
        self.upkeep = Upkeep(self._ask, folder, disk)
        self.upkeep.start()
        self.setting_types = dict(self._rows("SELECT name, type FROM system.settings"))
        table_functions = {name.lower() for [name] in self._rows("SELECT name FROM system.table_functions")}
        functions = [name for [name] in self._rows("SELECT name FROM system.functions")]
        self.functions_beyond_tables = Beyond(
            table_functions=frozenset(table_functions - HARMLESS_TABLE_FUNCTIONS),
            functions=frozenset(name.lower() for name in functions if reaches_beyond(name)),
        )

    def _rows(self, sql: str) -> list[list[str]]:
        with self._control_lock:
            rows: list[list[str]] = json.loads(self._control.query(sql, "JSONCompact").bytes())["data"]
        return rows

    def session(self, database: str) -> Session:
        session = Session(self, self._chdb.connect(self._target))
        try:
            if database:
                session.use(database)
        except ServerError:
            session.close()
            raise
        return session

    def spooled(self) -> Spooled:
        return Spooled(self._spool / uuid.uuid4().hex, self._disk)

    def create_database(self, name: str) -> None:
        with self._control_lock:
            try:
                self._control.query(f"CREATE DATABASE IF NOT EXISTS {quote_name(name)}")
            except (*_FAILURES, self.failure) as error:
                raise from_engine(error) from error

    def _ask(self, sql: str) -> list[list[Any]]:
        """On a connection of its own, so that nobody waits for it."""
        connection = self._chdb.connect(self._target)
        try:
            found = bytes(connection.query(sql, "JSONCompact").bytes() or b"")
        except (*_FAILURES, self.failure) as error:
            raise from_engine(error) from error
        finally:
            connection.close()
        rows: list[list[Any]] = json.loads(found)["data"] if found else []
        return rows

    def kill(self, mark: str) -> None:
        with self._control_lock:
            self._control.query(f"KILL QUERY WHERE Settings['log_comment'] = {quote(mark)} ASYNC")

    def answers(self) -> bool:
        with self._control_lock:
            return bytes(self._control.query("SELECT 1", "TSV").bytes()) == b"1\n"

    def close(self) -> None:
        self.upkeep.stop()
        with self._control_lock:
            self._control.close()
