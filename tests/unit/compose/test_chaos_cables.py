"""Cables carry everything until they are cut, and again once they are mended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from compose.chaos.proxies import LOOPBACK, Cables, Directions

QUIET_S = 0.2
ANSWER_S = 10.0


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that gives back what it gets, on every connection."""

    def serve(link: socket.socket) -> None:
        with link:
            try:
                while data := link.recv(65536):
                    link.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(link,), daemon=True).start()

    with socket.create_server((LOOPBACK, 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def connect(port: int) -> socket.socket:
    link = socket.create_connection((LOOPBACK, port), timeout=ANSWER_S)
    link.settimeout(ANSWER_S)
    return link


def said(link: socket.socket, data: bytes) -> bytes:
    link.sendall(data)
    back = b""
    while len(back) < len(data) and (more := link.recv(65536)):
        back += more
    return back


def test_a_cable_carries_both_ways_and_ends_with_its_ends(echo: tuple[str, int]) -> None:
    with Cables() as cables:
        cable = cables.lay(echo)
        with connect(cable.port) as link:
            assert said(link, b"x" * 300_000) == b"x" * 300_000
            link.shutdown(socket.SHUT_WR)
            assert ended(link)


def test_a_silent_cut_holds_what_is_said_and_the_mended_cable_brings_it(echo: tuple[str, int]) -> None:
    with Cables() as cables:
        cable = cables.lay(echo)
        with connect(cable.port) as link:
            assert said(link, b"before") == b"before"
            cables.cut(cable, "silent")
            link.sendall(b"meanwhile")
            link.settimeout(QUIET_S)
            with pytest.raises(TimeoutError):
                link.recv(1)
            # New connections are taken and get no answer either.
            with connect(cable.port) as late:
                late.sendall(b"late")
                late.settimeout(QUIET_S)
                with pytest.raises(TimeoutError):
                    late.recv(1)
                cables.mend(cable)
                late.settimeout(ANSWER_S)
                assert late.recv(65536) == b"late"
            link.settimeout(ANSWER_S)
            assert link.recv(65536) == b"meanwhile"


def test_a_reset_breaks_connections_and_refuses_new_ones_until_it_is_mended(echo: tuple[str, int]) -> None:
    with Cables() as cables:
        cable = cables.lay(echo)
        with connect(cable.port) as link:
            assert said(link, b"before") == b"before"
            cables.cut(cable, "reset")
            assert ended(link)
        with connect(cable.port) as link:
            assert ended(link)
        cables.mend(cable)
        with connect(cable.port) as link:
            assert said(link, b"after") == b"after"


def test_a_cable_whose_far_end_is_gone_ends_its_connections() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        gone = server.getsockname()
    with Cables() as cables, connect(cables.lay(gone).port) as link:
        assert ended(link)


def ended(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionError:
        return True


def test_directions_answer_the_one_question_there_is() -> None:
    with Directions(lambda: {"whatsapp_address": "127.0.0.1:1"}) as directions:
        assert httpx.get(f"{directions.url}/v1/info").json() == {"whatsapp_address": "127.0.0.1:1"}
        assert httpx.get(f"{directions.url}/v1/phones").status_code == 404
