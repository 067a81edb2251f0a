"""One client of the native protocol: who it is, then its queries, one after the other."""

from __future__ import annotations

import socket
import time

from analytics.embedded import cache, packets, reading
from analytics.embedded.access import Account
from analytics.embedded.engine import Session
from analytics.embedded.errors import (
    NOT_IMPLEMENTED,
    QUERY_WAS_CANCELLED,
    TOO_MANY_CONNECTIONS,
    ProtocolError,
    ServerError,
)
from analytics.embedded.link import Link
from analytics.embedded.native_query import NativeQuery
from analytics.embedded.native_tables import Tables
from analytics.embedded.packets import FromClient, Query
from analytics.embedded.service import PACKET_SECONDS, Service, leaving
from analytics.embedded.statements import MAX_SQL, Kind, max_sql

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
        self.leaving = False
        self._service = service
        self._link = Link(peer, service.budget)
        self._account = Account("")
        self._database = ""
        self._session: Session | None = None

    def serve(self) -> None:
        try:
            self._hello()
            while not self.leaving:
                self._packet()
        except ServerError as error:
            self._link.send(packets.exception(error))
        finally:
            self._link.close()
            if self._session is not None:
                self._session.close()

    def leave(self) -> None:
        self.leaving = True

    def stop(self) -> None:
        if (session := self._session) is not None:
            session.kill()

    def _hello(self) -> None:
        self._link.expect(HELLO_SECONDS, until=time.monotonic() + HELLO_SECONDS)
        if self._link.next_kind() != FromClient.HELLO:
            raise ProtocolError("the first packet is no Hello; HTTP is spoken on the other port")
        hello = packets.read_hello(self._link.reader)
        self._account = self._service.accounts.authenticate(hello.user, hello.password)
        self._service.admit(self._account)
        self._link.revision, self._database = hello.revision, hello.database
        self._session = self._service.engine.session(hello.database)
        self._link.expect(PACKET_SECONDS)
        self._link.send(packets.hello(hello.revision, NAME, self._service.engine.version))

    def _packet(self) -> None:
        kind = self._link.idle(IDLE_SECONDS)
        self._link.expect(PACKET_SECONDS)
        match kind:
            case FromClient.PING:
                self._link.send(packets.PONG)
            case FromClient.QUERY:
                self.busy = True
                try:
                    self._query()
                finally:
                    self.busy = False
            case FromClient.CANCEL:
                # For a query that has ended meanwhile.
                return
            case _:
                raise ProtocolError(f"packet {kind} is not known here", NOT_IMPLEMENTED)

    def _query(self) -> None:
        """The answer ends with EndOfStream or an exception, behind which nothing may follow."""
        most = MAX_SQL if self._account.is_reader else packets.MAX_QUERY
        query = packets.read_query(self._link.reader, self._link.revision, self._service.engine.setting_types.get, most)
        self._link.begin(compressed=query.compressed)
        with Tables(self._service.engine) as tables:
            tables.read(self._link)
            try:
                if self.leaving:
                    raise leaving()
                if query.settings.get("extremes", "0") not in ("0", "false"):
                    text = "extremes are not implemented by this server's native interface: they would be lost"
                    raise ServerError(NOT_IMPLEMENTED, text)
                with self._service.counted("native"):
                    if self._account.is_reader:
                        self._as_reader(query, tables)
                    else:
                        self._as_writer(query, tables)
            except ProtocolError:
                raise
            except ServerError as error:
                was_ended = self.leaving and error.code == QUERY_WAS_CANCELLED
                self._link.send(packets.exception(leaving() if was_ended else error))
                return
        self._link.send(packets.END_OF_STREAM)

    def _as_writer(self, query: Query, tables: Tables) -> None:
        session = self._session
        assert session is not None
        settings = self._account.session_settings(query.settings)
        session.set(settings)
        try:
            NativeQuery(self._service, self._link, session).run(query.sql, tables, max_sql(settings))
        finally:
            session.reset(list(settings))

    def _as_reader(self, query: Query, tables: Tables) -> None:
        reading.check_reader(_as_latin(query.sql), self._service.engine.functions_beyond_tables)
        if tables:
            raise ServerError(NOT_IMPLEMENTED, "tables that come along with a query are the writer's only")
        caching = cache.caching_of(self._account.name, self._database, query.settings)
        session = self._service.engine.session(self._database)
        previous, self._session = self._session, session
        if previous is not None:
            previous.close()
        session.set(self._account.session_settings(query.settings))
        kind = NativeQuery(self._service, self._link, session, caching).run(query.sql, tables, MAX_SQL)
        if kind is Kind.USE:
            self._database = session.run("SELECT currentDatabase()", "TSVRaw").decode().rstrip("\n")


def _as_latin(sql: str) -> str:
    return sql.encode("utf-8", "surrogateescape").decode("latin-1")
