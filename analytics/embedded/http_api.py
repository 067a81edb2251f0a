"""The HTTP interface's subset: queries and inserts in ClickHouse's formats, settings and parameters in the address.

Who names no user is the reader. Requests that a browser makes for a page, or to another host name, are refused: a page
on the web must not reach the server through its visitor. Each request has a session of its own; `session_id` is ignored.
"""

from __future__ import annotations

import base64
import binascii
import socket
import socketserver
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, Final, cast
from urllib.parse import parse_qsl, urlsplit

from analytics.embedded import cache, reading, statements
from analytics.embedded.access import Account
from analytics.embedded.cache import Caching
from analytics.embedded.engine import Session
from analytics.embedded.errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    QUERY_WAS_CANCELLED,
    SYNTAX_ERROR,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_ROWS_OR_BYTES,
    UNKNOWN_FORMAT,
    Denied,
    ServerError,
)
from analytics.embedded.http_answer import Answer
from analytics.embedded.http_body import Body
from analytics.embedded.packets import MAX_QUERY
from analytics.embedded.service import PACKET_SECONDS, Service, leaving
from analytics.embedded.statements import Insert, Kind, Statement
from core.telemetry.logs import get_logger
from core.telemetry.metrics import CLICKHOUSE_INSERTED_ROWS

# Parameters of the interface itself; all others are settings.
_OWN = frozenset(
    {
        "buffer_size",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "session_check",
        "session_id",
        "session_timeout",
        "user",
        "wait_end_of_query",
        "cancel_http_readonly_queries_on_client_close",
    }
)
# Formats whose blocks may stand one after the other; all others are made at once.
_STREAMED = frozenset(
    {
        "tabseparated",
        "tsv",
        "tabseparatedraw",
        "tsvraw",
        "csv",
        "jsoneachrow",
        "jsonlines",
        "ndjson",
        "native",
        "rowbinary",
    }
)
# Bytes of a request in which its statement is looked for; what follows an INSERT in them are data.
_HEAD: Final = 1 << 16
_MAX_PARAMETERS: Final = 5_000
# What is made at once stands on the disk for as long.
_MAX_WHOLE_BYTES: Final = 1 << 30
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "")


def refuse(peer: socket.socket) -> None:
    text = f"Code: {TOO_MANY_CONNECTIONS}. DB::Exception: Too many connections to this server\n".encode()
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()
    peer.sendall(head + text)


class HttpClient:
    def __init__(self, service: Service, peer: socket.socket) -> None:
        self.busy = False
        self.leaving = False
        self.service = service
        self.peer = peer
        self.session: Session | None = None

    def serve(self) -> None:
        _Requests(self)

    def leave(self) -> None:
        self.leaving = True

    def stop(self) -> None:
        if (session := self.session) is not None:
            session.kill()


class _Requests(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "wharf"
    sys_version = ""
    timeout = PACKET_SECONDS

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._service = client.service
        # It asks its server for nothing.
        super().__init__(client.peer, client.peer.getpeername(), cast(socketserver.BaseServer, None))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        get_logger(__name__).debug("http_request", line=format % args)

    def do_GET(self) -> None:
        self._request()

    def do_POST(self) -> None:
        self._request()

    def _request(self) -> None:
        self._client.busy = True
        answer = Answer(self)
        body: Body | None = None
        if self._client.leaving or self._service.slots.are_scarce:
            self.close_connection = True
        try:
            if self._client.leaving:
                raise leaving()
            self._check_origin()
            body = Body(self.headers, cast(BinaryIO, self.rfile))
            if self.path.partition("?")[0] in ("/ping", "/replicas_status"):
                answer.whole(b"Ok.\n")
                return
            with self._service.counted("http"):
                self._run(_parameters(self.path), body, answer)
        except ServerError as error:
            was_ended = self._client.leaving and error.code == QUERY_WAS_CANCELLED
            answer.fail(leaving() if was_ended else error)
        finally:
            self._client.busy = False
            self._client.session = None
            # What is left of a body would be read as the next request.
            if self._client.leaving or body is None or not body.ended:
                self.close_connection = True

    # --- who asks -------------------------------------------------------------------------------------------------

    def _check_origin(self) -> None:
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError as cause:
            raise Denied(AUTHENTICATION_FAILED, "the Host header is none") from cause
        is_page = self.headers.get("Origin") is not None or self.headers.get("Sec-Fetch-Site", "none") != "none"
        if is_page or host not in _LOOPBACK:
            raise Denied(AUTHENTICATION_FAILED, "requests of web pages and for other host names are not answered here")

    def _account(self, given: dict[str, str]) -> Account:
        accounts = self._service.accounts
        basic = self.headers.get("Authorization", "")
        if "X-ClickHouse-User" in self.headers:
            return accounts.authenticate(self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", ""))
        if basic.lower().startswith("basic "):
            try:
                user, _, password = base64.b64decode(basic[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as cause:
                raise ServerError(AUTHENTICATION_FAILED, "the Authorization header cannot be read") from cause
            return accounts.authenticate(user, password)
        if "user" in given:
            return accounts.authenticate(given["user"], given.get("password", ""))
        return accounts.authenticate(accounts.reader, "")

    # --- a query --------------------------------------------------------------------------------------------------

    def _run(self, given: dict[str, str], body: Body, answer: Answer) -> None:
        account = self._account(given)
        self._service.admit(account)
        for name in ("compress", "decompress"):
            if given.get(name, "0") != "0":
                raise ServerError(NOT_IMPLEMENTED, f"{name}=1 is not implemented: use Content-Encoding")
        if "multipart" in self.headers.get("Content-Type", ""):
            raise ServerError(NOT_IMPLEMENTED, "tables that come along with a query are not implemented over HTTP")
        query = given.get("query", "").encode("utf-8", "surrogateescape")
        head = (query + b"\n" if query else b"") + body.head(_HEAD)
        if not head.strip():
            answer.whole(b"Ok.\n")
            return
        insert = None if account.is_reader else statements.parse_head(head.decode("latin-1"))
        if insert is None or insert.data >= len(head):
            head = _whole_query(head, body, statements.MAX_SQL if account.is_reader else MAX_QUERY)
            if account.is_reader:
                reading.check_reader(head.decode("latin-1"), self._service.engine.functions_beyond_tables)
        settings = {name: value for name, value in given.items() if name not in _OWN and not name.startswith("param_")}
        statement = statements.parse(head.decode("latin-1"), statements.max_sql(settings))
        if self.command == "GET" and not account.is_reader:
            # As ClickHouse has it: what a GET asks for changes nothing.
            settings["readonly"] = "2"
        database = given.get("database") or self.headers.get("X-ClickHouse-Database") or ""
        session = self._service.engine.session(database)
        self._client.session = session
        try:
            session.set(account.session_settings(settings))
            if statement.insert is not None:
                self._insert(session, statement.insert, head, body, answer)
                return
            caching = cache.caching_of(account.name, database, settings) if account.is_reader else None
            self._answer(session, statement, self._format(statement, given), _given_to_query(given), caching, answer)
        finally:
            session.close()

    def _format(self, statement: Statement, given: dict[str, str]) -> str:
        name = statement.format or given.get("default_format") or self.headers.get("X-ClickHouse-Format") or ""
        if name and not (name.isascii() and name.isidentifier()):
            raise ServerError(UNKNOWN_FORMAT, f"Unknown format {name[:40]!r}. (UNKNOWN_FORMAT)")
        return name or "TabSeparated"

    def _on_sign(self) -> None:
        """Something came while the query runs: the end of the connection, or a request for later."""
        if not self._client.peer.recv(1, socket.MSG_PEEK) and self._client.session is not None:
            self._client.session.kill()

    def _insert(self, session: Session, insert: Insert, head: bytes, body: Body, answer: Answer) -> None:
        insertion = session.insert(insert, insert.format)
        finished = False
        try:
            if first := statements.inline_data(head.decode("latin-1"), insert):
                insertion.append(first)
            for piece in body:
                insertion.append(piece)
            finished = True
            rows, _ = insertion.finish()
        finally:
            if not finished:
                insertion.cancel()
        self._service.metrics.counter(CLICKHOUSE_INSERTED_ROWS).inc(rows)
        answer.whole(b"", written=rows)

    def _answer(
        self,
        session: Session,
        statement: Statement,
        format_name: str,
        parameters: dict[str, str],
        caching: Caching | None,
        answer: Answer,
    ) -> None:
        bare = _text(statement.bare.encode("latin-1"))
        if statement.kind is Kind.SELECT and format_name.lower() not in _STREAMED:
            self._write(session, bare, format_name, parameters, answer)
            return
        with self._service.watcher.watching(self._client.peer, self._on_sign):
            if statement.kind is not Kind.SELECT:
                ask_all = session.change if statement.kind is Kind.WRITE else session.run
                answer.whole(ask_all(bare, format_name, parameters), format_name)
                return
            ask = partial(session.stream, bare, format_name, parameters)
            with closing(self._service.cache.answer(caching, bare, format_name, parameters, ask)) as stream:
                answer.stream(stream, format_name)

    def _write(self, session: Session, sql: str, format_name: str, parameters: dict[str, str], answer: Answer) -> None:
        """A result that is made at once, by way of a file: what went wrong is told before its first byte."""
        result = self._service.engine.spooled()
        try:
            with self._service.watcher.watching(self._client.peer, self._on_sign):
                session.write(sql, format_name, parameters, result, _MAX_WHOLE_BYTES)
            with result.path.open("rb") as file:
                answer.file(file, result.size, format_name)
        except ServerError as error:
            if error.code != TOO_MANY_ROWS_OR_BYTES or "bytes" not in error.message:
                raise
            others = "TabSeparated, CSV, JSONEachRow, Native or RowBinary, which are streamed"
            text = f"{error.message} as {format_name}: ask for {others} (TOO_MANY_ROWS_OR_BYTES)"
            raise ServerError(TOO_MANY_ROWS_OR_BYTES, text) from error
        finally:
            result.drop()


def _parameters(path: str) -> dict[str, str]:
    query = path.partition("?")[2]
    try:
        found = parse_qsl(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_PARAMETERS)
    except ValueError as cause:
        raise ServerError(SYNTAX_ERROR, f"the address cannot be read: {cause}") from cause
    return dict(found)


def _given_to_query(given: dict[str, str]) -> dict[str, str]:
    return {name[6:]: value for name, value in given.items() if name.startswith("param_")}


def _whole_query(head: bytes, body: Body, most: int) -> bytes:
    out = bytearray(head)
    for piece in body:
        out += piece
        if len(out) > most:
            break
    if len(out) > most:
        raise ServerError(SYNTAX_ERROR, f"the query is longer than {most} bytes (SYNTAX_ERROR)")
    return bytes(out)


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError as cause:
        raise ServerError(SYNTAX_ERROR, f"the query is not UTF-8 at byte {cause.start}") from cause
