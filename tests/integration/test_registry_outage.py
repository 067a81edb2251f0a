"""The registry outlives Kafka: started before it, killed under it, it waits, says so, and goes on."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from compose.stack import ports
from compose.stack.kafka_node import KafkaNode
from compose.stack.process import LeashedProcess, LogFile
from compose.toolchain import kafka_archive
from compose.toolchain.java import find_java
from tests.support.registry import RunningRegistry
from tests.support.waiting import wait_until

SECONDS = 60


class Node:
    """A Kafka of this test alone, which it may kill."""

    def __init__(self, folder: Path) -> None:
        rng = random.Random()
        port = ports.free_port(rng, set())
        java = find_java()
        other = ports.free_port(rng, {port})
        self.node = KafkaNode(java, folder / "kafka", "127.0.0.1", port, other, kafka_archive.options(java))
        self.node.prepare()
        self._folder = folder
        self._process: LeashedProcess | None = None

    def start(self) -> None:
        log = LogFile(self._folder / "kafka.log")
        self._process = LeashedProcess.start(self.node.command(), log=log, env=os.environ, cwd=self._folder)

    def kill(self) -> None:
        assert self._process is not None
        wait_until(lambda: self._pid() is not None, SECONDS, "Kafka's pid is known")
        os.kill(self._pid() or 0, signal.SIGKILL)
        self._process.stop(SECONDS)
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(SECONDS)

    def _pid(self) -> int | None:
        assert self._process is not None
        self._process.read()
        return self._process.pid


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def registry(node: Node, tmp_path: Path) -> Iterator[RunningRegistry]:
    made = RunningRegistry(node.node.bootstrap, "_schemas", tmp_path / "registry.log")
    made.start(wait=False)
    yield made
    assert made.stop() == 0


def register(registry: RunningRegistry, subject: str) -> httpx.Response:
    body = {"schema": f'{{"type":"record","name":"{subject}","fields":[]}}'}
    return httpx.post(f"{registry.url}/subjects/{subject}/versions", json=body, timeout=30)


def test_kafka_comes_goes_and_comes_back(node: Node, registry: RunningRegistry) -> None:
    wait_until(lambda: registry.health() == 503, SECONDS, "it answers before Kafka is there")
    assert register(registry, "early").status_code == 503
    node.start()
    wait_until(lambda: registry.health() == 200, SECONDS, "ready when Kafka is there")
    first = register(registry, "first").json()["id"]

    node.kill()
    wait_until(lambda: registry.health() == 503, SECONDS, "Kafka's death shows")
    assert httpx.get(f"{registry.url}/schemas/ids/{first}").status_code == 200, "what is known is still told"
    refused = register(registry, "refused")
    assert (refused.status_code, refused.json()["error_code"] in (50001, 50002)) == (503, True)

    node.start()
    wait_until(lambda: registry.health() == 200, SECONDS, "Kafka's return shows")
    wait_until(lambda: register(registry, "second").status_code == 200, SECONDS, "writes go on")
    second = register(registry, "second").json()["id"]
    before = httpx.get(f"{registry.url}/schemas").json()
    # The refused write was told as failed; it may yet have been made, under an id of its own.
    assert {v["subject"] for v in before} - {"refused"} == {"first", "second"}
    assert len({v["id"] for v in before}) == len(before)
    assert second > first
    registry.stop(signal.SIGKILL)
    registry.start()
    assert httpx.get(f"{registry.url}/schemas").json() == before
