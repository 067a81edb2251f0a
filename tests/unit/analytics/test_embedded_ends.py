"""What cannot be stopped keeps nobody waiting: neither the engine that writes into a pipe nor the end of the server."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

from analytics.embedded.disk import Disk
from analytics.embedded.engine import _Taker
from analytics.embedded.errors import TOO_MANY_ROWS_OR_BYTES
from analytics.embedded.listener import Listener, Slots
from analytics.embedded.spool import Spooled
from tests.support.waiting import wait_until


def cannot_stop() -> None:
    raise RuntimeError("KILL is not possible")


def test_a_result_is_taken_to_its_end_though_its_query_cannot_be_stopped(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    taker = _Taker(reading, Spooled(tmp_path / "x", Disk(tmp_path)), 1, cannot_stop)
    taker.start()

    def write() -> None:
        # Much more than a pipe holds.
        with os.fdopen(writing, "wb") as file:
            file.write(bytes(4 << 20))

    engine = threading.Thread(target=write, daemon=True)
    engine.start()
    engine.join(30)
    assert not engine.is_alive()
    taker.join(30)
    os.close(reading)
    assert taker.failure is not None
    assert taker.failure.code == TOO_MANY_ROWS_OR_BYTES


class Handler:
    """Busy until it is told to stop, which may be impossible."""

    def __init__(self, peer: socket.socket, *, stops: bool) -> None:
        self.busy = True
        self._peer = peer
        self._stops = stops

    def serve(self) -> None:
        self._peer.recv(1)

    def leave(self) -> None:
        pass

    def stop(self) -> None:
        if not self._stops:
            cannot_stop()
        self.busy = False


def test_one_that_cannot_be_stopped_leaves_the_others_to_be_stopped() -> None:
    handlers: list[Handler] = []

    def handler(peer: socket.socket) -> Handler:
        handlers.append(Handler(peer, stops=bool(handlers)))
        return handlers[-1]

    listener = Listener("test", ("127.0.0.1", 0), Slots(4), handler, lambda peer: peer.close())
    listener.start()
    clients = []
    for number in (1, 2):
        clients.append(socket.create_connection(("127.0.0.1", listener.port)))
        wait_until(lambda wanted=number: len(handlers) == wanted, 20, "it is served")  # type: ignore[misc]
    listener.close()
    assert not listener.drain(time.monotonic())
    assert [one.busy for one in handlers] == [True, False]
    for client in clients:
        client.close()
