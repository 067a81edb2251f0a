"""The embedded registry as a process of its own, over a topic of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from compose.stack import ports
from tests.support.waiting import wait_until

READY_SECONDS = 30
STOP_SECONDS = 10
ROOT = Path(__file__).parents[2]


class RunningRegistry:
    """`url` stays the same over restarts."""

    def __init__(self, bootstrap: str, topic: str, log: Path) -> None:
        self.url = f"http://127.0.0.1:{ports.free_port(random.Random(), set())}"
        self.topic = topic
        self._bootstrap = bootstrap
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        env = {**os.environ, "WHARF_KAFKA__BOOTSTRAP": self._bootstrap, "WHARF_REGISTRY__URL": self.url}
        command = [sys.executable, "-m", "schemas.registry", "--topic", self.topic]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        if wait:
            wait_until(lambda: self.health() == 200, READY_SECONDS, f"registry ready (log {self._log})")

    def health(self) -> int:
        """HTTP status of /healthz, 0 while nobody answers."""
        try:
            return httpx.get(f"{self.url}/healthz").status_code
        except httpx.TransportError:
            return 0

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(STOP_SECONDS)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        return self._process is not None


@contextlib.contextmanager
def running_registry(bootstrap: str, topic: str, folder: Path) -> Iterator[RunningRegistry]:
    registry = RunningRegistry(bootstrap, topic, folder / "registry.log")
    registry.start()
    try:
        yield registry
    finally:
        if registry.running:
            registry.stop()
