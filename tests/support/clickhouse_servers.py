"""ClickHouse servers for the contract suite: ours, Debian's old one, and one that is given by its address."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from clickhouse_driver import Client
from clickhouse_driver.errors import Error

from compose.stack import ports
from core.settings import PREFIX
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60
STOP_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how far its protocol goes."""

    name: str
    port: int
    host: str = "127.0.0.1"
    user: str = "default"
    password: str = ""
    # 18.16 lacks newer types and settings.
    is_old: bool = False

    def client(self, **more: Any) -> Client:
        arguments = {"user": self.user, "password": self.password, "send_receive_timeout": 60, **more}
        return Client(self.host, port=self.port, **arguments)

    def execute(self, sql: str, *arguments: Any, **more: Any) -> Any:
        """One statement on a connection of its own."""
        with self.client() as client:
            return client.execute(sql, *arguments, **more)


def free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(ports.free_port(random.Random(), found))
    return list(found)


class Embedded:
    """Our server as a process; ports and data stay the same over restarts."""

    def __init__(self, folder: Path, env: Mapping[str, str], **settings: str) -> None:
        self.port, self.http_port, self.telemetry_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.folder = folder
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {
            "WHARF_DATA_DIR": str(folder),
            "WHARF_CLICKHOUSE__PORT": str(self.port),
            "WHARF_CLICKHOUSE__HTTP_PORT": str(self.http_port),
            "WHARF_TELEMETRY__PORT": str(self.telemetry_port),
            **{f"WHARF_CLICKHOUSE__{name.upper()}": value for name, value in settings.items()},
            **env,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> Server:
        return Server("embedded", self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with (self.folder / "clickhouse.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "analytics.embedded"], cwd=ROOT, env=self._env, stdout=log, stderr=log
            )
        wait_until(self.is_healthy, READY_SECONDS, f"ClickHouse ready (log {log.name})")

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.telemetry_port}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.telemetry_port}/metrics", timeout=5).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def log(self) -> str:
        return (self.folder / "clickhouse.log").read_text()

    def megabytes(self) -> int:
        """Memory of its own; not files that it maps."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) // 1024

    def run(self) -> subprocess.CompletedProcess[str]:
        """For a start that does not succeed."""
        command = [sys.executable, "-m", "analytics.embedded"]
        return subprocess.run(
            command, cwd=ROOT, env=self._env, capture_output=True, text=True, timeout=READY_SECONDS, check=False
        )

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        return process.wait(STOP_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        self.send_signal(number)
        return self.wait()

    @property
    def running(self) -> bool:
        return self._process is not None


@contextlib.contextmanager
def embedded(folder: Path, env: Mapping[str, str] | None = None, **settings: str) -> Iterator[Embedded]:
    running = Embedded(folder, env or {}, **settings)
    running.start()
    try:
        yield running
    finally:
        if running.running:
            running.stop()


_DEBIAN_CONFIG = """<yandex>
  <logger><level>error</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog></logger>
  <tcp_port>{port}</tcp_port><http_port>{http_port}</http_port><listen_host>127.0.0.1</listen_host>
  <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><mark_cache_size>67108864</mark_cache_size>
  <users_config>{folder}/users.xml</users_config><default_profile>default</default_profile>
  <default_database>default</default_database><timezone>UTC</timezone>
</yandex>
"""
_DEBIAN_USERS = """<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>
  <password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
</default></users></yandex>
"""


def _answers(server: Server) -> bool:
    try:
        return bool(server.execute("SELECT 1"))
    except (Error, OSError, EOFError):
        return False


@contextlib.contextmanager
def debian(folder: Path) -> Iterator[Server]:
    """Debian's clickhouse-server 18.16; the caller has seen that it is installed."""
    port, http_port = free_ports(2)
    (folder / "config.xml").write_text(_DEBIAN_CONFIG.format(folder=folder, port=port, http_port=http_port))
    (folder / "users.xml").write_text(_DEBIAN_USERS)
    program = shutil.which("clickhouse-server") or "clickhouse-server"
    with (folder / "out.log").open("ab") as log:
        process = subprocess.Popen([program, f"--config-file={folder}/config.xml"], cwd=folder, stdout=log, stderr=log)
    server = Server("debian", port, is_old=True)
    try:
        wait_until(lambda: _answers(server), READY_SECONDS, f"clickhouse-server ready (logs in {folder})")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
