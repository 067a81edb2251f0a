"""Sees that a client cancels or leaves while its query runs and nobody reads its socket."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.telemetry.logs import get_logger

# Between two looks: how late a cancel may be noticed.
LOOK_SECONDS = 0.1


@dataclass(slots=True)
class _Watched:
    peer: socket.socket
    on_sign: Callable[[], None]
    told: bool = False


class Watcher:
    """One thread for all connections. It only peeks, so that the connection's own thread still reads what came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Held from finding signs until all are told.
        self._telling = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    @contextlib.contextmanager
    def watching(self, peer: socket.socket, on_sign: Callable[[], None]) -> Iterator[None]:
        """Inside the `with`, and never behind it, `on_sign` is called once in the watcher's thread when anything comes or
        ends."""
        number = peer.fileno()
        with self._lock:
            self._watched[number] = _Watched(peer, on_sign)
        try:
            yield
        finally:
            # Or it would stop whatever this connection does next.
            with self._telling, self._lock:
                self._watched.pop(number, None)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            with self._telling:
                for on_sign in self._signs():
                    try:
                        on_sign()
                    except Exception as error:  # noqa: BLE001 - one query that cannot be stopped leaves the others watched
                        get_logger(__name__).warning("query_not_stopped", error=error)

    def _signs(self) -> list[Callable[[], None]]:
        with self._lock:
            found: list[Callable[[], None]] = []
            poll = select.poll()
            for number, watched in self._watched.items():
                if not watched.told and watched.peer.fileno() == number:
                    poll.register(number, select.POLLIN)
            for number, _ in poll.poll(0):
                self._watched[number].told = True
                found.append(self._watched[number].on_sign)
            return found
