"""One client of the native protocol: who it is, then its queries, one after the other."""

from __future__ import annotations

import socket

from analytics.embedded import cache, packets, statements
from analytics.embedded.access import Account
from analytics.embedded.blocks import Block
from analytics.embedded.engine import Session
from analytics.embedded.errors import (
    NOT_IMPLEMENTED,
    SYNTAX_ERROR,
    TOO_MANY_CONNECTIONS,
    Disconnected,
    ProtocolError,
    ServerError,
)
from analytics.embedded.link import Link
from analytics.embedded.native_query import NativeQuery
from analytics.embedded.packets import FromClient, Query
from analytics.embedded.service import PACKET_SECONDS, Service

HELLO_SECONDS = 10
IDLE_SECONDS = 3_600
NAME = "wharf"


def refuse(peer: socket.socket) -> None:
    peer.sendall(packets.exception(ServerError(TOO_MANY_CONNECTIONS, "Too many connections to this server")))


class NativeClient:
    """The writer's session lasts as long as its connection. A reader has a new one for each query: once read-only, a
    session takes no other settings."""

    def __init__(self, service: Service, peer: socket.socket) -> None:
        self.busy = False
        self._service = service
        self._peer = peer
        self._link = Link(peer, service.budget)
        self._account = Account("")
        self._database = ""
        self._session: Session | None = None
        self._stopped = False

    def serve(self) -> None:
        try:
            self._hello()
            while not self._stopped:
                self._packet()
        except ServerError as error:
            self._link.send(packets.exception(error))
        except TimeoutError as error:
            raise Disconnected from error
        finally:
            self._link.close()
            if self._session is not None:
                self._session.close()

    def stop(self) -> None:
        self._stopped = True
        if (session := self._session) is not None:
            session.kill()

    def _hello(self) -> None:
        self._peer.settimeout(HELLO_SECONDS)
        if self._link.next_kind() != FromClient.HELLO:
            raise ProtocolError("the first packet is no Hello; HTTP is spoken on the other port")
        hello = packets.read_hello(self._link.reader)
        self._account = self._service.accounts.authenticate(hello.user, hello.password)
        self._link.revision, self._database = hello.revision, hello.database
        self._session = self._service.engine.session(hello.database)
        self._link.send(packets.hello(hello.revision, NAME, self._service.engine.version))

    def _packet(self) -> None:
        self._peer.settimeout(IDLE_SECONDS)
        kind = self._link.next_kind()
        self._peer.settimeout(PACKET_SECONDS)
        match kind:
            case FromClient.PING:
                self._link.send(packets.PONG)
            case FromClient.QUERY:
                self.busy = True
                self._query()
                self.busy = False
            case FromClient.CANCEL:
                # For a query that has ended meanwhile.
                return
            case _:
                raise ProtocolError(f"packet {kind} is not known here", NOT_IMPLEMENTED)

    def _query(self) -> None:
        query = packets.read_query(self._link.reader, self._link.revision, self._service.engine.setting_types.get)
        self._link.begin(compressed=query.compressed)
        tables = self._tables()
        try:
            with self._service.counted("native"):
                _check_utf8(query.sql)
                if self._account.is_reader:
                    self._as_reader(query, tables)
                else:
                    self._as_writer(query, tables)
        except ProtocolError:
            raise
        except ServerError as error:
            self._link.send(packets.exception(error))

    def _tables(self) -> list[tuple[str, Block]]:
        """The tables that come along with a query, up to the empty block."""
        tables: list[tuple[str, Block]] = []
        while True:
            if self._link.next_kind() != FromClient.DATA:
                raise ProtocolError("behind a query come its tables and an empty block")
            name, block = self._link.read_data()
            if not block.columns:
                return tables
            tables.append((name, block))

    def _as_writer(self, query: Query, tables: list[tuple[str, Block]]) -> None:
        session = self._session
        assert session is not None
        settings = self._account.session_settings(query.settings)
        session.set(settings)
        try:
            NativeQuery(self._service, self._link, session).run(query.sql, tables)
        finally:
            session.reset(list(settings))

    def _as_reader(self, query: Query, tables: list[tuple[str, Block]]) -> None:
        statements.check_reader(_as_latin(query.sql), self._service.engine.functions_beyond_tables)
        if tables:
            raise ServerError(NOT_IMPLEMENTED, "tables that come along with a query are the writer's only")
        caching = cache.caching_of(self._account.name, self._database, query.settings)
        session = self._service.engine.session(self._database)
        previous, self._session = self._session, session
        if previous is not None:
            previous.close()
        session.set(self._account.session_settings(query.settings))
        NativeQuery(self._service, self._link, session, caching).run(query.sql, tables)
        self._database = session.run("SELECT currentDatabase()", "TSVRaw").decode().rstrip("\n")


def _check_utf8(sql: str) -> None:
    """The engine takes SQL as text; bytes that are none belong into blocks."""
    try:
        sql.encode()
    except UnicodeEncodeError as cause:
        raise ServerError(SYNTAX_ERROR, f"the query is not UTF-8 at character {cause.start}") from cause


def _as_latin(sql: str) -> str:
    return sql.encode("utf-8", "surrogateescape").decode("latin-1")
