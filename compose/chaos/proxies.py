"""Cables that can be cut: TCP proxies of the harness, and an HTTP answer that leads a session host through one.

A cut is one of two: `silent` (bytes and connections are held, as when a network drops packets) or `reset` (connections
break and new ones are refused). All of them live in one event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, TypeVar

LOOPBACK = "127.0.0.1"
_CHUNK = 1 << 16
_CALL_S = 10.0
T = TypeVar("T")
Cut = Literal["silent", "reset"]


class Cable:
    """One proxied address. Its methods belong to the loop's thread; `Cables` calls them there."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self, how: Cut) -> None:
        if how == "silent":
            self._open.clear()
        else:
            self._refuses = True
            for task in list(self._tasks):
                task.cancel()

    async def mend(self) -> None:
        self._refuses = False
        self._open.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the connection is gone or to go, which is all there is to say
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            return
        await self._open.wait()
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, there_writer))
                both.create_task(self._pump(there_reader, writer))
        except* OSError:
            pass
        finally:
            there_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            await self._open.wait()
            sink.write(data)
            await sink.drain()
        # One side ended: so does the other, at once.
        raise ConnectionResetError


class Cables:
    """Entering starts the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cables", daemon=True)
        self._cables: list[Cable] = []

    def __enter__(self) -> Cables:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for cable in self._cables:
            self._call(cable.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lay(self, target: tuple[str, int], port: int = 0) -> Cable:
        cable = Cable(target)
        self._call(cable.listen(port))
        self._cables.append(cable)
        return cable

    def cut(self, cable: Cable, how: Cut) -> None:
        self._call(cable.cut(how))

    def mend(self, cable: Cable) -> None:
        self._call(cable.mend())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)


class Directions:
    """Answers `/v1/info` in the simulator's stead with another WhatsApp address; nothing else is asked of it."""

    def __init__(self, info: Callable[[], dict[str, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/v1/info"
                body = json.dumps(info() if found else {"code": "sim.not_found", "message": self.path}).encode()
                self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                # A connector that was killed meanwhile does not wait for it.
                with contextlib.suppress(ConnectionError):
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Requests are not worth a line."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="directions", daemon=True)
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> Directions:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown()
        self._thread.join()
        self._server.server_close()
