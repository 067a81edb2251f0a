"""A SOCKS5 proxy without authentication that counts its connections, may refuse them, and may cut them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Socks:
    """Listens from construction until `close`."""

    def __init__(self) -> None:
        self.connections = 0
        self.refuse = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socks5://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for each in self._open:
            _end(each)
        self._open.clear()

    def close(self) -> None:
        _end(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                there = self._greet(client)
            except (OSError, struct.error, IndexError):
                return
            if there is None:
                return
            with there:
                self._open += [client, there]
                back = threading.Thread(target=_pump, args=(there, client), daemon=True)
                back.start()
                _pump(client, there)
                back.join()

    def _greet(self, client: socket.socket) -> socket.socket | None:
        _, count = _exactly(client, 2)
        _exactly(client, count)
        client.sendall(b"\x05\x00")
        _, command, _, kind = _exactly(client, 4)
        size = 4 if kind == 1 else _exactly(client, 1)[0]
        raw = _exactly(client, size)
        host = socket.inet_ntoa(raw) if kind == 1 else raw.decode()
        (port,) = struct.unpack(">H", _exactly(client, 2))
        if self.refuse or command != 1:
            client.sendall(b"\x05\x02\x00\x01" + bytes(6))
            return None
        there = socket.create_connection((host, port), 10)
        there.settimeout(None)
        self.connections += 1
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        return there


@contextmanager
def socks_proxy() -> Iterator[Socks]:
    proxy = Socks()
    try:
        yield proxy
    finally:
        proxy.close()


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            raise OSError("closed")
        data += part
    return data


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass  # one end closes both
    _end(source)
    _end(target)


def _end(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
    each.close()
