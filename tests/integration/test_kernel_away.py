"""Kafka goes away: short outages are waited out with the batch in hand; after long ones all starts from what is committed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.stack import ports, probes
from compose.stack.kafka_node import KafkaNode
from compose.stack.process import LeashedProcess, LogFile
from compose.toolchain import kafka_archive
from compose.toolchain.java import find_java
from core.settings import KafkaSettings
from tests.integration.kernel_support import Bench, assert_exactly_once, closing
from tests.support.waiting import wait_until


class Broker:
    """A Kafka of this module's own, which may be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        rng = random.Random()
        port = ports.free_port(rng, set())
        java = find_java()
        archive = kafka_archive.options(java)
        self._folder = folder
        self._node = KafkaNode(java, folder / "kafka", "127.0.0.1", port, ports.free_port(rng, {port}), archive)
        self._node.prepare()
        self._process: LeashedProcess | None = None
        self.bootstrap = self._node.bootstrap

    def start(self) -> None:
        self._process = LeashedProcess.start(
            self._node.command(), log=LogFile(self._folder / "kafka.log"), env=os.environ, cwd=self._folder
        )
        client = KafkaSettings(bootstrap=self.bootstrap)
        wait_until(lambda: probes.kafka(client).ready, 60, "Kafka is ready")

    def _pid(self) -> int:
        assert self._process is not None
        self._process.read()
        assert self._process.pid is not None
        return self._process.pid

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        os.kill(self._pid(), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid(), signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def bench(broker: Broker) -> Bench:
    bench = Bench(broker.bootstrap, partitions=2)
    bench.make_topics()
    return bench


def test_a_killed_broker_is_waited_for(broker: Broker, bench: Bench) -> None:
    first, second = [f"a{number}" for number in range(500)], [f"b{number}" for number in range(500)]
    # Patient, for a broker may start slowly on a shared machine.
    with closing(worker := bench.worker("a", session_timeout_ms=60_000, pace={"give_up": 60})):
        worker.wait("owned", bench.partitions)
        bench.produce("in", first)
        worker.wait("committed")
        broker.kill()
        broker.start()
        bench.produce("in", second)
        wait_until(lambda: len(bench.copies()) >= 1000, 60, "everything copied")
        # The batch stayed in hand: nothing was torn down.
        assert not worker.seen("lost")
        assert len(worker.log) < 100, "a line repeats without end"
        assert worker.stop() == 0
    assert_exactly_once(bench.copies(), first + second)


def test_a_long_silence_gives_up_and_starts_from_what_is_committed(broker: Broker, bench: Bench) -> None:
    ids = [f"m{number}" for number in range(100)]
    with closing(worker := bench.worker("a", pace={"give_up": 3, "keep_alive": 0.5}, session_timeout_ms=6000)):
        worker.wait("owned", bench.partitions)
        with broker.paused():
            worker.wait("lost", bench.partitions, seconds=20)
        worker.wait("owned", 2 * bench.partitions, seconds=40)
        bench.produce("in", ids)
        wait_until(lambda: len(bench.copies()) >= len(ids), 30, "copied")
        assert worker.stop() == 0
    assert_exactly_once(bench.copies(), ids)


def test_a_stop_while_kafka_is_away_takes_seconds(broker: Broker, bench: Bench) -> None:
    with closing(worker := bench.worker("a", pace={"stop": 2})):
        worker.wait("owned", bench.partitions)
        with broker.paused():
            worker.signal(signal.SIGTERM)
            assert worker.exit_code(10) == 0
