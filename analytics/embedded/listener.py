"""Accepts connections up to a limit, a thread for each, and ends them in order: the busy when they are done."""

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
# How long a peer may take to read our last word, and how many of those that found no place may take it at once.
LINGER_SECONDS = 2.0
MOST_TURNED_AWAY = 32
LINGER_BYTES = 1 << 16
# At the end: for what was told to stop, and then for the connections.
STOP_SECONDS = 1.0
LOOK_SECONDS = 0.02


class Handler(Protocol):
    """One client. `busy` while it has begun something that it should be let finish."""

    busy: bool

    def serve(self) -> None:
        """Until the client leaves or what runs at `leave` is done; raises Disconnected or OSError when the peer is gone."""
        ...

    def leave(self) -> None:
        """From another thread: begin nothing new, and say so to who asks."""
        ...

    def stop(self) -> None:
        """From another thread: stop what runs."""
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

    @property
    def are_scarce(self) -> bool:
        """The last eighth is taken into use."""
        return self.used > self.most - self.most // 8


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
        self._turned_away = Slots(MOST_TURNED_AWAY)
        self._handler = handler
        self._refuse = refuse
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[Handler, socket.socket] = {}
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
            if self._slots.take():
                self._begin(self._run, peer, self._slots)
            elif self._turned_away.take():
                self._begin(self._turn_away, peer, self._turned_away)
            else:
                peer.close()

    def _begin(self, work: Callable[[socket.socket], None], peer: socket.socket, places: Slots) -> None:
        """In a thread of its own; the place is given back at its end."""

        def run() -> None:
            try:
                work(peer)
            finally:
                places.give()

        try:
            threading.Thread(target=run, name=f"{self._name}-client", daemon=True).start()
        except RuntimeError as error:
            # No thread can be had: this one is left, others may come later.
            get_logger(__name__).error("no_thread", listener=self._name, error=error)
            peer.close()
            places.give()

    def _turn_away(self, peer: socket.socket) -> None:
        with peer:
            peer.settimeout(LINGER_SECONDS)
            try:
                self._refuse(peer)
            except OSError:
                get_logger(__name__).debug("refused_client_left", listener=self._name)
            _linger(peer)

    def _run(self, peer: socket.socket) -> None:
        with peer:
            handler = self._handler(peer)
            with self._lock:
                self._open[handler] = peer
                if self._stopping.is_set():
                    handler.leave()
            try:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                handler.serve()
            except (Disconnected, OSError):
                get_logger(__name__).debug("client_left", listener=self._name)
            except Exception as error:  # noqa: BLE001 - one client's end is not the server's
                # A fault of ours in one connection: the others go on, and it is told.
                get_logger(__name__).exception("connection_failed", listener=self._name, error=error)
            finally:
                with self._lock:
                    self._open.pop(handler, None)
            _linger(peer)

    def close(self) -> None:
        """Nobody new comes, and nothing new begins."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()
        with self._lock:
            for handler in self._open:
                handler.leave()

    def drain(self, deadline: float) -> bool:
        """Wait until `deadline` (monotonic) for the busy ones, stop what still runs, then leave all; whether all had
        ended by themselves."""
        patient = self._wait(self._busy, deadline)
        if not patient:
            for handler in self._busy():
                try:
                    handler.stop()
                except Exception as error:  # noqa: BLE001 - one that cannot be stopped leaves the others to be stopped
                    get_logger(__name__).warning("query_not_stopped", listener=self._name, error=error)
            self._wait(self._busy, time.monotonic() + STOP_SECONDS)
        with self._lock:
            left = list(self._open.values())
        for peer in left:
            _shut(peer, socket.SHUT_RDWR)
        self._wait(self._all, time.monotonic() + STOP_SECONDS)
        return patient

    def _busy(self) -> list[Handler]:
        return [handler for handler in self._all() if handler.busy]

    def _all(self) -> list[Handler]:
        with self._lock:
            return list(self._open)

    def _wait(self, some: Callable[[], list[Handler]], deadline: float) -> bool:
        while some():
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True


def _shut(peer: socket.socket, how: int) -> bool:
    try:
        peer.shutdown(how)
    except OSError:
        # It left by itself.
        return False
    return True


def _linger(peer: socket.socket) -> None:
    """Close so that our last word is read: a socket that is closed while bytes of the peer are unread takes back what was
    sent to it."""
    if not _shut(peer, socket.SHUT_WR):
        return
    deadline = time.monotonic() + LINGER_SECONDS
    try:
        while (left := deadline - time.monotonic()) > 0:
            peer.settimeout(left)
            if not peer.recv(LINGER_BYTES):
                return
    except OSError:
        # Its time is up, or it left.
        return
