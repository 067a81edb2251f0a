"""A real Kafka for a test session.

One that runs already (WHARF_TEST_KAFKA=host:port), one in a container (WHARF_TEST_CONTAINERS=1, needs a Docker engine), or
else the local stack's own node as a child of the test run.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compose.stack import ports, probes
from compose.stack.kafka_node import KafkaNode
from compose.stack.process import LeashedProcess, LogFile
from compose.toolchain import kafka_archive
from compose.toolchain.java import find_java
from core.settings import KafkaSettings, Settings
from tests.support.waiting import wait_until

READY_SECONDS = 60
STOP_SECONDS = 10
# What the local node is told too (facts/kafka.md, 6), as the container wants it.
_CONTAINER_SETTINGS = {
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
}


@dataclass(frozen=True, slots=True)
class RunningKafka:
    bootstrap: str

    def settings(self, prefix: str, **sections: object) -> Settings:
        """Settings of a process that uses this Kafka with topics of its own; `sections` as in Settings."""
        kafka = KafkaSettings(bootstrap=self.bootstrap, prefix=prefix, external=True)
        return Settings(kafka=kafka, **sections)  # type: ignore[arg-type]


@contextlib.contextmanager
def running_kafka(folder: Path) -> Iterator[RunningKafka]:
    if bootstrap := os.environ.get("WHARF_TEST_KAFKA"):
        yield RunningKafka(bootstrap)
    elif os.environ.get("WHARF_TEST_CONTAINERS"):
        with _container() as running:
            yield running
    else:
        with _local_node(folder) as running:
            yield running


@contextlib.contextmanager
def _local_node(folder: Path) -> Iterator[RunningKafka]:
    rng = random.Random()
    port = ports.free_port(rng, set())
    controller_port = ports.free_port(rng, {port})
    java = find_java()
    node = KafkaNode(java, folder / "kafka", "127.0.0.1", port, controller_port, kafka_archive.options(java))
    # Nobody kills it. On a busy disk its controller may not answer for longer than the usual 9 s, and takes every partition
    # from the only broker for it.
    node.folder.mkdir(parents=True)
    (node.folder / "extra.properties").write_text("broker.session.timeout.ms=120000\n")
    node.prepare()
    process = LeashedProcess.start(node.command(), log=LogFile(folder / "kafka.log"), env=os.environ, cwd=folder)
    settings = KafkaSettings(bootstrap=node.bootstrap)
    try:
        wait_until(lambda: probes.kafka(settings).ready, READY_SECONDS, f"Kafka ready (log in {folder})")
        yield RunningKafka(node.bootstrap)
    finally:
        process.stop(STOP_SECONDS)


@contextlib.contextmanager
def _container() -> Iterator[RunningKafka]:
    # Imported here: few test runs use containers.
    from testcontainers.kafka import KafkaContainer

    container = KafkaContainer().with_kraft()
    for name, value in _CONTAINER_SETTINGS.items():
        container.with_env(name, value)
    with container:
        yield RunningKafka(container.get_bootstrap_server())
