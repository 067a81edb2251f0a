"""Accepts connections up to a limit, a thread for each, and ends them in order: the idle at once, the busy when done."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from analytics.embedded.errors import Disconnected
from core.telemetry.logs import get_logger

BACKLOG = 128
ACCEPT_SECONDS = 0.2


class Handler(Protocol):
    """One client. `busy` while it has begun something that it should be let finish."""

    busy: bool

    def serve(self) -> None:
        """Until the client leaves or `stop` is called; raises Disconnected or OSError when the peer is gone."""
        ...

    def stop(self) -> None:
        """From another thread: stop what runs and leave."""
        ...


class Slots:
    """How many connections all listeners together hold."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self.used >= self.most:
                return False
            self.used += 1
            return True

    def give(self) -> None:
        with self._lock:
            self.used -= 1


class Listener:
    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        slots: Slots,
        handler: Callable[[socket.socket], Handler],
        refuse: Callable[[socket.socket], None],
    ) -> None:
        self._name = name
        self._slots = slots
        self._handler = handler
        self._refuse = refuse
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[Handler, tuple[socket.socket, threading.Thread]] = {}
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family, backlog=BACKLOG)
        self._socket.settimeout(ACCEPT_SECONDS)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name=f"{name}-accept", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                peer, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of file descriptors, say: those who are there go on, and a later try may succeed.
                get_logger(__name__).error("accept_failed", listener=self._name, error=error)
                self._stopping.wait(ACCEPT_SECONDS)
                continue
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._slots.take():
                self._turn_away(peer)
                continue
            handler = self._handler(peer)
            thread = threading.Thread(target=self._run, args=(handler, peer), name=f"{self._name}-client", daemon=True)
            with self._lock:
                self._open[handler] = (peer, thread)
            thread.start()

    def _turn_away(self, peer: socket.socket) -> None:
        with peer:
            peer.settimeout(1)
            try:
                self._refuse(peer)
            except OSError:
                get_logger(__name__).debug("refused_client_left", listener=self._name)

    def _run(self, handler: Handler, peer: socket.socket) -> None:
        try:
            with peer:
                handler.serve()
        except (Disconnected, OSError):
            get_logger(__name__).debug("client_left", listener=self._name)
        except Exception as error:  # noqa: BLE001 - one client's end is not the server's
            # A fault of ours in one connection: the others go on, and it is told.
            get_logger(__name__).exception("connection_failed", listener=self._name, error=error)
        finally:
            with self._lock:
                self._open.pop(handler, None)
            self._slots.give()

    def close(self) -> None:
        """Nobody new comes; who is idle leaves."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()
        with self._lock:
            idle = [peer for handler, (peer, _) in self._open.items() if not handler.busy]
        for peer in idle:
            _shut(peer)

    def drain(self, deadline: float) -> bool:
        """Wait until `deadline` (monotonic) for the busy ones, then stop them; whether all had ended by themselves."""
        patient = self._wait(deadline)
        if not patient:
            with self._lock:
                left = [(handler, peer) for handler, (peer, _) in self._open.items()]
            for handler, peer in left:
                handler.stop()
                _shut(peer)
            self._wait(time.monotonic() + 1)
        return patient

    def _wait(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            with self._lock:
                threads = [thread for _, thread in self._open.values()]
            if not threads:
                return True
            threads[0].join(max(0.0, min(0.1, deadline - time.monotonic())))
        with self._lock:
            return not self._open


def _shut(peer: socket.socket) -> None:
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It left by itself.
        return
