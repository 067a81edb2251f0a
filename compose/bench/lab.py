"""Kafka, the registry and ClickHouse alone, with sinks that the measurement starts itself: as many as it wants, each time from
the beginning of the log into a database of its own."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from confluent_kafka import KafkaError, KafkaException

from analytics.client import connected
from analytics.schema.migrate import migrate
from analytics.sink.rows import TOPICS
from analytics.sink.sink import GROUP
from compose.bench.stage import Stage
from compose.bench.watch import BenchError, Tell
from compose.stack import probes
from compose.stack.ports import free_port
from compose.stack.process import LeashedProcess, LogFile
from core.kafka.clients import KafkaClients
from core.settings import ClickHouseSettings, env_name

_START_S, _STOP_S, _CALL_S = 60.0, 20.0, 30.0


class Lab(Stage):
    def __init__(self, tell: Tell, partitions: int) -> None:
        env = {env_name("kafka.partitions"): str(partitions)}
        super().__init__(tell, env=env, only=("topics", "schemas", "clickhouse"))
        self._sinks: dict[str, LeashedProcess] = {}
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self.clients = KafkaClients(self.settings.kafka, "wharf-bench")
        return self

    def pid(self, name: str) -> int:
        sink = self._sinks.get(name)
        if sink is None:
            return super().pid(name)
        sink.read()
        if sink.pid is None or sink.exit_code is not None:
            raise BenchError(f"{name} has ended; its log is {self.stack.files.log(name)}")
        return sink.pid

    @contextmanager
    def database(self, name: str) -> Iterator[ClickHouseSettings]:
        """All tables, empty; gone at the end. Begins when nothing of an earlier one is being merged any more."""
        settings = self.settings.clickhouse.model_copy(update={"database": name})
        migrate(settings)
        with connected(settings) as client:
            merges = "SELECT count() = 0 FROM system.merges"
            self.wait_until(lambda: client.execute(merges)[0][0], _START_S, "ClickHouse is done with its merges")
            yield settings
            client.execute(f"DROP DATABASE {name} SYNC")

    @contextmanager
    def sinks(self, count: int, database: ClickHouseSettings) -> Iterator[list[str]]:
        """Names of so many that share the partitions, from the beginning of the log on."""
        self._forget_positions()
        names = [f"sink-{number + 1}" for number in range(count)]
        try:
            for name in names:
                self._start(name, database)
            yield names
        finally:
            for name in names:
                if name in self._sinks:
                    self._sinks.pop(name).stop(_STOP_S)

    def _start(self, name: str, database: ClickHouseSettings) -> None:
        self._ports[name] = port = free_port(random.Random(), set(self._ports.values()))
        env = self.stack.environ | {
            env_name("sink.slot"): name,
            env_name("telemetry.port"): str(port),
            env_name("clickhouse.database"): database.database,
        }
        command = [sys.executable, "-m", "analytics.sink"]
        log = LogFile(self.stack.files.log(name))
        self._sinks[name] = sink = LeashedProcess.start(command, log=log, env=env, cwd=self.stack.files.data_dir)

        def has_pid() -> bool:
            sink.read()
            return sink.pid is not None

        self.wait_until(has_pid, _START_S, f"{name} is started")

    def all_joined(self, names: Sequence[str]) -> bool:
        """Each has partitions, and nobody else has any."""
        shares = [self._share(name) for name in names]
        return 0 not in shares and sum(shares) == len(TOPICS) * self.settings.kafka.partitions

    def _share(self, name: str) -> int:
        self.pid(name)
        health = probes.http(f"http://127.0.0.1:{self._ports[name]}/healthz").detail
        return int(health.get("checks", {}).get("kafka", {}).get("detail", "0").split()[0])

    def _forget_positions(self) -> None:
        """Once the members of the last time are forgotten: static ones keep their places until their sessions time out."""
        admin = self.clients.admin()

        def forgotten() -> bool:
            try:
                admin.delete_consumer_groups([GROUP], request_timeout=_CALL_S)[GROUP].result(_CALL_S)
            except KafkaException as cause:
                if cause.args[0].code() == KafkaError.NON_EMPTY_GROUP:
                    return False
                if cause.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                    raise
            return True

        self.wait_until(forgotten, _START_S, "the group of the sinks is forgotten")
