"""The HTTP interface's subset: queries and inserts in ClickHouse's formats, settings and parameters in the address.

Who names no user is the reader. Requests that a browser makes for a page, or to another host name, are refused: a page
on the web must not reach the server through its visitor. Each request has a session of its own; `session_id` is ignored.
"""

from __future__ import annotations

import base64
import binascii
import socket
import socketserver
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, Final, cast
from urllib.parse import parse_qsl, urlsplit

from analytics.embedded import cache, http_body, statements
from analytics.embedded.access import Account
from analytics.embedded.cache import Caching
from analytics.embedded.engine import Session
from analytics.embedded.errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    SYNTAX_ERROR,
    TOO_MANY_CONNECTIONS,
    Denied,
    ServerError,
)
from analytics.embedded.packets import MAX_QUERY
from analytics.embedded.service import PACKET_SECONDS, Service
from analytics.embedded.statements import Kind, Statement
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
_TYPES: Final = {
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
}
_STATUS = {60: 404, 81: 404, 62: 400, 47: 400, 48: 501, 164: 403, 202: 503, AUTHENTICATION_FAILED: 403, 497: 403}
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "")


def refuse(peer: socket.socket) -> None:
    text = f"Code: {TOO_MANY_CONNECTIONS}. DB::Exception: Too many connections to this server\n".encode()
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()
    peer.sendall(head + text)


class HttpClient:
    def __init__(self, service: Service, peer: socket.socket) -> None:
        self.busy = False
        self.stopped = False
        self.service = service
        self.peer = peer
        self.session: Session | None = None

    def serve(self) -> None:
        _Requests(self)

    def stop(self) -> None:
        self.stopped = True
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
        self._began = False
        # It asks its server for nothing.
        super().__init__(client.peer, client.peer.getpeername(), cast(socketserver.BaseServer, None))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        get_logger(__name__).debug("http_request", line=format % args)

    def do_GET(self) -> None:
        self._request()

    def do_POST(self) -> None:
        self._request()

    def _request(self) -> None:
        self._client.busy, self._began = True, False
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            self._check_origin()
            if urlsplit(self.path).path in ("/ping", "/replicas_status"):
                self._whole(b"Ok.\n", "")
                return
            with self._service.counted("http"):
                self._run(given)
        except ServerError as error:
            self._fail(error)
        finally:
            self._client.busy = False
            self._client.session = None
            if self._client.stopped:
                self.close_connection = True

    # --- who asks -------------------------------------------------------------------------------------------------

    def _check_origin(self) -> None:
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        if self.headers.get("Origin") is not None or host not in _LOOPBACK:
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

    def _run(self, given: dict[str, str]) -> None:
        account = self._account(given)
        for name in ("compress", "decompress"):
            if given.get(name, "0") != "0":
                raise ServerError(NOT_IMPLEMENTED, f"{name}=1 is not implemented: use Content-Encoding")
        if "multipart" in self.headers.get("Content-Type", ""):
            raise ServerError(NOT_IMPLEMENTED, "tables that come along with a query are not implemented over HTTP")
        query = given.get("query", "").encode("utf-8", "surrogateescape")
        body = http_body.pieces(self.headers, cast(BinaryIO, self.rfile))
        head = query + b"\n" if query else b""
        head += next(body, b"")
        if not head.strip():
            self._whole(b"Ok.\n", "")
            return
        settings = {name: value for name, value in given.items() if name not in _OWN and not name.startswith("param_")}
        if self.command == "GET" and not account.is_reader:
            # As ClickHouse has it: what a GET asks for changes nothing.
            settings["readonly"] = "2"
        database = given.get("database") or self.headers.get("X-ClickHouse-Database") or ""
        session = self._service.engine.session(database)
        self._client.session = session
        try:
            session.set(account.session_settings(settings))
            insert = statements.parse_head(head.decode("latin-1"))
            if insert is not None and not account.is_reader:
                self._insert(session, insert, head, body)
                return
            sql = _whole_query(head, body)
            if account.is_reader:
                statements.check_reader(sql.decode("latin-1"), self._service.engine.functions_beyond_tables)
            parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
            caching = cache.caching_of(account.name, database, settings) if account.is_reader else None
            with self._service.watcher.watching(self._client.peer, self._on_sign):
                self._answer(session, statements.parse(sql.decode("latin-1")), given, parameters, caching)
        finally:
            session.close()

    def _on_sign(self) -> None:
        """Something came while the query runs: the end of the connection, or a request for later."""
        if not self._client.peer.recv(1, socket.MSG_PEEK) and self._client.session is not None:
            self._client.session.kill()

    def _insert(self, session: Session, insert: statements.Insert, head: bytes, body: Iterator[bytes]) -> None:
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
        self._whole(b"", "", written=rows)

    def _answer(
        self,
        session: Session,
        statement: Statement,
        given: dict[str, str],
        parameters: dict[str, str],
        caching: Caching | None,
    ) -> None:
        default = given.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        format_name = statement.format or default
        bare = _text(statement.bare.encode("latin-1"))
        if statement.kind is not Kind.SELECT or format_name.lower() not in _STREAMED:
            self._whole(session.run(bare, format_name, parameters), format_name)
            return
        ask = partial(session.stream, bare, format_name, parameters)
        with closing(self._service.cache.answer(caching, bare, format_name, parameters, ask)) as stream:
            self._stream(stream, format_name)

    # --- the answer -----------------------------------------------------------------------------------------------

    def _begin(self, status: int, format_name: str, **headers: str) -> None:
        self._began = True
        self.send_response(status)
        self.send_header("X-ClickHouse-Query-Id", str(uuid.uuid4()))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("X-ClickHouse-Server-Display-Name", "wharf")
        if format_name:
            self.send_header("X-ClickHouse-Format", format_name)
        self.send_header("Content-Type", _TYPES.get(format_name.lower(), "text/plain; charset=UTF-8"))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _whole(self, content: bytes, format_name: str, *, written: int = 0) -> None:
        summary = f'{{"read_rows":"0","read_bytes":"0","written_rows":"{written}","written_bytes":"0"}}'
        self._begin(200, format_name, Content_Length=str(len(content)), X_ClickHouse_Summary=summary)
        self.wfile.write(content)

    def _stream(self, stream: Iterator[bytes], format_name: str) -> None:
        first = next(stream, b"")
        if not first:
            self._whole(b"", format_name)
            return
        self._begin(200, format_name, Transfer_Encoding="chunked")
        self._chunk(first)
        for piece in stream:
            self._chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n" % len(piece))
        self.wfile.write(piece)
        self.wfile.write(b"\r\n")

    def _fail(self, error: ServerError) -> None:
        """A failure in the middle is told in the body, which then ends without its end: no client takes it for whole."""
        self.close_connection = True
        content = f"{error}\n".encode("utf-8", "replace")
        if self._began:
            self._chunk(content)
            return
        code = str(error.code)
        status = _STATUS.get(error.code, 500)
        self._begin(status, "", Content_Length=str(len(content)), X_ClickHouse_Exception_Code=code, Connection="close")
        self.wfile.write(content)


def _whole_query(head: bytes, body: Iterator[bytes]) -> bytes:
    out = bytearray(head)
    for piece in body:
        out += piece
        if len(out) > MAX_QUERY:
            raise ServerError(SYNTAX_ERROR, f"the query is longer than {MAX_QUERY} bytes")
    return bytes(out)


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError as cause:
        raise ServerError(SYNTAX_ERROR, f"the query is not UTF-8 at byte {cause.start}") from cause
