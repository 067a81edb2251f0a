"""The native connection as packets and blocks: what is read from the client and what is sent to it."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator

from analytics.embedded import blocks, frames, packets
from analytics.embedded.blocks import BLOCK_INFO, Block, Column
from analytics.embedded.errors import SOCKET_TIMEOUT, Disconnected, ProtocolError, ServerError
from analytics.embedded.packets import Counts, FromClient
from analytics.embedded.wire import CHUNK, Budget, Reader

# One block with its compressed form; the clients' own defaults stay far below.
MAX_BLOCK = 256 << 20
PROGRESS_SECONDS = 0.1


class Link:
    """`revision` is what both sides speak, known after Hello."""

    def __init__(self, peer: socket.socket, budget: Budget) -> None:
        self.peer = peer
        self.revision = 0
        self.reader = Reader(self._receive, budget, MAX_BLOCK)
        self._unpacked = Reader(lambda: frames.read_frame(self.reader, budget), budget, MAX_BLOCK)
        self._compressed = False
        self._told = Counts()
        self._told_at = 0.0
        self._patience = 0.0
        self._until: float | None = None

    def expect(self, seconds: float, *, until: float | None = None) -> None:
        """How long is waited from now on, for something to come and for the peer to take what is sent; `until`
        (monotonic), all that comes must be here."""
        self._patience, self._until = seconds, until
        self.peer.settimeout(seconds)

    def _receive(self) -> bytes:
        if self._until is not None:
            self.peer.settimeout(max(0.001, self._until - time.monotonic()))
        try:
            return self.peer.recv(CHUNK)
        except TimeoutError as cause:
            text = (
                f"Timeout exceeded while reading from socket: nothing came for {self._patience:.0f} s (SOCKET_TIMEOUT)"
            )
            raise ProtocolError(text, SOCKET_TIMEOUT) from cause

    def close(self) -> None:
        self.reader.close()
        self._unpacked.close()

    def begin(self, *, compressed: bool) -> None:
        """A query begins, whose blocks in both directions are compressed or not."""
        self._compressed = compressed
        self._told, self._told_at = Counts(), time.monotonic()

    def idle(self, seconds: float) -> int:
        """The kind of the next packet, which may be long in coming. Who never comes back is left without a word: it would
        be taken for the answer to a later question."""
        self.expect(seconds)
        try:
            return self.next_kind()
        except ProtocolError as error:
            if error.code == SOCKET_TIMEOUT:
                raise Disconnected from error
            raise

    def next_kind(self) -> int:
        self.reader.drop_consumed()
        with _ending():
            return self.reader.varint()

    def read_data(self) -> tuple[str, Block]:
        """A Data packet behind its kind."""
        source = self._unpacked if self._compressed else self.reader
        with _ending():
            name = self.reader.text()
            block = blocks.read_block(source)
        if self._compressed and source.buffered:
            raise ProtocolError("a compressed frame goes on behind its block's end")
        return name, block

    def wants_to_stop(self) -> bool:
        """Whether the client has cancelled or left; what it sent stays to be read."""
        if self.reader.buffered:
            return self.reader.buf[self.reader.pos] == FromClient.CANCEL
        poll = select.poll()
        poll.register(self.peer, select.POLLIN)
        # Asked before, because a socket with a time-out waits for it even when told not to.
        if not poll.poll(0):
            return False
        try:
            head = self.peer.recv(1, socket.MSG_PEEK)
        except OSError:
            return True
        return not head or head[0] == FromClient.CANCEL

    def send(self, data: bytes | bytearray) -> None:
        self.peer.sendall(data)

    def send_block(self, native: bytes | bytearray) -> None:
        self.send(packets.DATA)
        if self._compressed:
            for frame in frames.write_frames(BLOCK_INFO + native):
                self.send(frame)
        else:
            self.send(BLOCK_INFO)
            self.send(native)

    def send_header(self, columns: tuple[Column, ...]) -> None:
        self.send_block(blocks.header(columns))

    def send_progress(self, counts: Counts, *, at_once: bool = False) -> None:
        """What was read since the last time; not more often than somebody can watch."""
        if counts.written_rows and not packets.tells_written_rows(self.revision):
            # An old client expects nothing of the kind from an INSERT.
            return
        now = time.monotonic()
        if not at_once and now - self._told_at < PROGRESS_SECONDS:
            return
        self.send(packets.progress(counts.since(self._told), self.revision))
        self._told, self._told_at = counts, now


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """What cannot be measured or held ends the connection: where the next packet begins is unknown."""
    try:
        yield
    except ProtocolError:
        raise
    except ServerError as error:
        raise ProtocolError(error.message, error.code) from error
