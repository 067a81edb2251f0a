"""A real Kafka for a test session: one that runs already (WHARF_TEST_KAFKA), or the local stack's own node."""

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
        return
    rng = random.Random()
    port = ports.free_port(rng, set())
    java = find_java()
    archive = kafka_archive.options(java)
    node = KafkaNode(java, folder / "kafka", "127.0.0.1", port, ports.free_port(rng, {port}), archive)
    node.prepare()
    process = LeashedProcess.start(node.command(), log=LogFile(folder / "kafka.log"), env=os.environ, cwd=folder)
    client = KafkaSettings(bootstrap=node.bootstrap)
    try:
        wait_until(lambda: probes.kafka(client).ready, READY_SECONDS, f"Kafka ready (log in {folder})")
        yield RunningKafka(node.bootstrap)
    finally:
        process.stop(10)
