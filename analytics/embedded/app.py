"""The embedded ClickHouse as a process: opens the data, listens, and ends in order at SIGTERM."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from analytics.embedded import http_api, native, tokens
from analytics.embedded.access import Accounts
from analytics.embedded.cache import ResultCache
from analytics.embedded.disk import Disk
from analytics.embedded.engine import Engine
from analytics.embedded.errors import ServerError
from analytics.embedded.listener import Handler, Listener, Slots
from analytics.embedded.service import Service
from analytics.embedded.watch import Watcher
from analytics.embedded.wire import Budget
from core.errors import DBError, SettingsError
from core.settings import Settings
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import BUILD_INFO, CLICKHOUSE_CONNECTIONS, CLICKHOUSE_INCOMING_BYTES, Metrics

COMPONENT = "clickhouse"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# How long running queries may go on after SIGTERM.
DRAIN_SECONDS = 2.0
# How late a signal may be noticed.
SIGNAL_SECONDS = 0.2
# Small caches and few background threads: it shares a machine with everything else.
CONFIG = """<clickhouse>
    <logger><level>none</level></logger>
    <mark_cache_size>67108864</mark_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <background_pool_size>2</background_pool_size>
    <background_schedule_pool_size>4</background_schedule_pool_size>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <storage_configuration><disks><default>
        <keep_free_space_bytes>{keep}</keep_free_space_bytes>
    </default></disks></storage_configuration>
</clickhouse>
"""


def listen_host(settings: Settings) -> str:
    given = settings.clickhouse
    if given.external:
        raise SettingsError("config.invalid", "clickhouse.external is true: the embedded server is not started")
    if given.host not in LOOPBACK:
        raise SettingsError(
            "config.invalid",
            f"clickhouse.host is {given.host}: the embedded server listens on loopback, as in 127.0.0.1;"
            " set clickhouse.external=true if it is another's",
        )
    return "127.0.0.1" if given.host == "localhost" else given.host


@dataclass(frozen=True, slots=True)
class Folder:
    data: Path
    config: Path
    spool: Path
    disk: Disk


@contextmanager
def own_folder(folder: Path) -> Iterator[Folder]:
    """The data and the engine's configuration, ours alone; the working directory becomes an empty one, because the
    engine reads any config.xml that it finds there, and its time zone is the one that both protocols tell."""
    with ExitStack() as held:
        try:
            found = _prepared(folder, held)
        except BlockingIOError as cause:
            raise DBError("db.clickhouse_unavailable", f"{folder} is in use by another server") from cause
        except OSError as cause:
            raise DBError("db.clickhouse_unavailable", f"{folder} cannot be used: {cause.strerror}") from cause
        for table in tokens.suspects(found.data):
            get_logger(__name__).warning("tokens_without_rows_taken_out", table=table.name, parts=tokens.mend(table))
        os.chdir(folder / "work")
        # <timezone> of a configuration means nothing to chDB.
        os.environ["TZ"] = "UTC"
        yield found


def _prepared(folder: Path, held: ExitStack) -> Folder:
    folder.mkdir(parents=True, exist_ok=True)
    found = Folder(folder / "data", folder / "config.xml", folder / "spool", Disk(folder))
    for path in (found.data, found.spool, folder / "work"):
        path.mkdir(exist_ok=True)
    lock = held.enter_context((folder / "lock").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Of inserts that were cut short by our end; their clients never got an answer. First, for a full disk.
    for left in found.spool.iterdir():
        left.unlink()
    config = CONFIG.format(keep=found.disk.keep)
    if not found.config.exists() or found.config.read_text() != config:
        found.config.write_text(config)
    return found


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT."""
    host = listen_host(settings)
    configure_logging(level=settings.telemetry.log_level, log_format=settings.telemetry.log_format, component=COMPONENT)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics = Metrics()
    metrics.gauge(BUILD_INFO).labels(component=COMPONENT, slot="").set(1)
    telemetry = HealthServer(COMPONENT, metrics, host=settings.telemetry.host, port=settings.telemetry.port)
    with own_folder(settings.data_dir.absolute() / COMPONENT) as folder:
        server = Server(settings, metrics, host, folder)
        telemetry.add_check("engine", server.check)
        telemetry.start()
        try:
            server.start()
            # In turns: a signal may be taken by one of the engine's threads, which wakes nobody.
            while not stop.wait(SIGNAL_SECONDS):
                continue
        finally:
            server.stop()
            telemetry.stop()
    return 0


class Server:
    def __init__(self, settings: Settings, metrics: Metrics, host: str, folder: Folder) -> None:
        given = settings.clickhouse
        started = time.monotonic()
        self._log = get_logger(__name__)
        try:
            self._engine = Engine(folder.data, folder.config, folder.spool, folder.disk)
            self._engine.create_database(given.database)
        except ServerError as error:
            raise DBError("db.clickhouse_unavailable", f"{folder.data} cannot be opened: {error.message}") from error
        self._slots = Slots(given.max_connections)
        self._budget = Budget(given.max_incoming_bytes)
        self._watcher = Watcher()
        cache = ResultCache(metrics, time.monotonic)
        service = Service(self._engine, Accounts(given), self._watcher, self._slots, self._budget, cache, metrics)
        metrics.gauge(CLICKHOUSE_CONNECTIONS).set_function(lambda: self._slots.used)
        metrics.gauge(CLICKHOUSE_INCOMING_BYTES).set_function(lambda: self._budget.used)

        def native_client(peer: socket.socket) -> Handler:
            return native.NativeClient(service, peer)

        def http_client(peer: socket.socket) -> Handler:
            return http_api.HttpClient(service, peer)

        self._listeners = [
            self._listener("native", (host, given.port), native_client, native.refuse),
            self._listener("http", (host, given.http_port), http_client, http_api.refuse),
        ]
        self._log.info("engine_opened", version=self._engine.version, seconds=round(time.monotonic() - started, 2))

    def _listener(
        self,
        name: str,
        address: tuple[str, int],
        client: Callable[[socket.socket], Handler],
        refuse: Callable[[socket.socket], None],
    ) -> Listener:
        try:
            return Listener(name, address, self._slots, client, refuse)
        except OSError as cause:
            self._engine.close()
            setting = "clickhouse.port" if name == "native" else "clickhouse.http_port"
            text = f"cannot listen on {address[0]}:{address[1]} ({setting}): {cause.strerror}"
            raise DBError("db.clickhouse_unavailable", text) from cause

    def check(self) -> Check:
        used = f"{self._slots.used} of {self._slots.most} connections"
        return Check(self._engine.answers(), used)

    def start(self) -> None:
        self._watcher.start()
        for listener in self._listeners:
            listener.start()
        self._log.info("listening", ports=[listener.port for listener in self._listeners])

    def stop(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        for listener in self._listeners:
            listener.close()
        patient = [listener.drain(deadline) for listener in self._listeners]
        self._watcher.stop()
        self._engine.close()
        self._log.info("stopped", all_finished=all(patient))
