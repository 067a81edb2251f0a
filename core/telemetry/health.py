"""Health and metrics of a process on loopback: GET /healthz (200 or 503 with each check) and GET /metrics.

Checks run in the server's thread: they read what the process published, they do not do I/O of their own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from core.telemetry.logs import get_logger
from core.telemetry.metrics import HEALTHY, Metrics


@dataclass(frozen=True, slots=True)
class Check:
    """`detail` says in a few words what is so, healthy or not."""

    healthy: bool
    detail: str = ""


class HealthServer:
    """Started by `start()`, which returns the port; `port=0` takes any free one."""

    def __init__(self, component: str, metrics: Metrics, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._component = component
        self._metrics = metrics
        self._address = (host, port)
        self._checks: dict[str, Callable[[], Check]] = {}
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def add_check(self, name: str, check: Callable[[], Check]) -> None:
        self._checks[name] = check

    def report(self) -> tuple[bool, dict[str, object]]:
        """Overall health and the body of /healthz."""
        checks = {}
        for name, check in sorted(self._checks.items()):
            checks[name] = result = check()
            self._metrics.gauge(HEALTHY).labels(check=name).set(1 if result.healthy else 0)
        healthy = all(result.healthy for result in checks.values())
        body: dict[str, object] = {
            "status": "ok" if healthy else "unavailable",
            "component": self._component,
            "checks": {
                name: {"status": "ok" if result.healthy else "unavailable", "detail": result.detail}
                for name, result in checks.items()
            },
        }
        return healthy, body

    def start(self) -> int:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/healthz":
                    healthy, body = outer.report()
                    self._answer(200 if healthy else 503, "application/json", json.dumps(body).encode())
                elif self.path == "/metrics":
                    outer.report()
                    self._answer(200, CONTENT_TYPE_LATEST, outer._metrics.expose())
                else:
                    self._answer(404, "text/plain", b"/healthz or /metrics\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                get_logger(__name__).debug("telemetry_request", line=format % args)

        server = ThreadingHTTPServer(self._address, Handler)
        server.daemon_threads = True
        self._server = server
        # A short poll interval only matters for how fast stop() returns.
        self._thread = threading.Thread(target=server.serve_forever, args=(0.25,), name="telemetry", daemon=True)
        self._thread.start()
        port = int(server.server_address[1])
        get_logger(__name__).info("telemetry_listening", host=self._address[0], port=port)
        return port

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None
