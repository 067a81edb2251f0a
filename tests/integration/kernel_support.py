"""What the kernel's tests share: topics of their own, copying processes, and what the log says afterwards."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from core.kafka.clients import KafkaClients
from core.kafka.dump import dump
from core.kafka.marks import Mark
from core.kafka.table import watermarks
from core.settings import KafkaSettings
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("kernel_worker.py")
STATE = {"cleanup.policy": "compact"}
# The cleaner works while a test runs: each segment is short, and dirty at once.
CLEANED = {"segment_ms": "300", "min_cleanable_dirty_ratio": "0.01", "max_compaction_lag_ms": "300"}
GROUP = "copy"


@dataclass
class Bench:
    """Topics of one test; `partitions` of each."""

    bootstrap: str
    partitions: int
    prefix: str = field(default_factory=lambda: f"kernel-{secrets.token_hex(4)}.")

    @property
    def settings(self) -> KafkaSettings:
        return KafkaSettings(bootstrap=self.bootstrap, prefix=self.prefix, external=True)

    @property
    def clients(self) -> KafkaClients:
        return KafkaClients(self.settings, "kernel-test")

    def make_topics(self, **state: str) -> None:
        """`state` are settings of the state topic, with underscores."""
        config = {"state": STATE | {name.replace("_", "."): value for name, value in state.items()}, "tab": STATE}
        topics = [
            NewTopic(self.prefix + name, self.partitions, 1, config=config.get(name, {}))
            for name in ("in", "side", "tab", "state", "out")
        ]
        # Kept in a name: a client that is collected drops what it was asked.
        admin = self.clients.admin()
        for future in admin.create_topics(topics).values():
            future.result()

    def produce(self, topic: str, ids: list[str], key: bytes | None = None) -> None:
        """Round-robin over the partitions, acknowledged when this returns."""
        producer = self.clients.producer()
        for number, name in zip(itertools.cycle(range(self.partitions)), ids):
            producer.produce(self.prefix + topic, name.encode(), key, partition=number)
        assert producer.flush(30) == 0

    def copies(self) -> list[dict[str, Any]]:
        """Everything committed in `out`."""
        return [
            {**json.loads(record.value or b""), "partition": record.partition, "offset": record.offset}
            for record in dump(self.clients, ["out"])
        ]

    def state_ends(self, partition: int) -> tuple[int, int]:
        """First offset and high watermark of a state partition."""
        probe = self.clients.marks_reader("kernel-test")
        try:
            return watermarks(probe, self.prefix + "state", partition, 10)
        finally:
            probe.close()

    def worker(self, slot: str, *, faults: dict[str, Any] | None = None, **config: Any) -> Worker:
        return Worker({"bootstrap": self.bootstrap, "prefix": self.prefix, "slot": slot, **config}, faults)


class Worker:
    """A process of kernel_worker.py and the events it told."""

    def __init__(self, config: dict[str, Any], faults: dict[str, Any] | None) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        if faults is not None:
            environ |= {"WHARF_ALLOW_FAULTS": "1", "WHARF_TEST_FAULTS": json.dumps(faults)}
        self.slot = config["slot"]
        self.events: list[dict[str, Any]] = []
        self.log: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=ROOT,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        self.events.extend(json.loads(line) for line in self._process.stdout)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        self.log.extend(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def stopped(self) -> bool:
        """Standing still by SIGSTOP."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def seen(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in list(self.events) if entry["event"] == event]

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in list(self.log) if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def roles(self) -> dict[int, dict[str, Any]]:
        """What it is to each partition, as a standby tells it."""
        told = self.seen("roles")
        return {row["partition"]: row for row in told[-1]["rows"]} if told else {}

    def follows(self, bench: Bench, partition: int) -> bool:
        """Its standby is at the end as that is now."""
        row = self.roles().get(partition, {})
        return row.get("role") == "standby" and (row["position"] or 0) >= bench.state_ends(partition)[1]

    def wait(self, event: str, count: int = 1, seconds: float = 30) -> list[dict[str, Any]]:
        try:
            return wait_until(
                lambda: found if len(found := self.seen(event)) >= count else [], seconds, f"{self.slot}: {event}"
            )
        except AssertionError as cause:
            raise AssertionError(f"{cause}\n{self.events[-5:]}\n{''.join(self.log[-12:])}") from cause

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        if self.alive:
            self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Orderly; the exit code."""
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self, seconds: float = 30) -> int:
        code = self._process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        return code

    def close(self) -> None:
        self.kill()
        for reader in self._readers:
            reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class Predecessor:
    """A former owner in the middle of a transaction: offsets are sent, its state record is not on the wire yet."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.member: Consumer = bench.clients.member(bench.prefix + GROUP, "p", 2000)
        assigned: list[int] = []

        def on_assign(_consumer: Consumer, entries: list[TopicPartition]) -> None:
            assigned.extend(entry.partition for entry in entries)

        self.member.subscribe([bench.prefix + "in"], on_assign=on_assign)
        wait_until(lambda: self.member.poll(0.05) or len(assigned) == bench.partitions, 20, "assigned")
        self.producer = Producer(
            {
                "bootstrap.servers": bench.bootstrap,
                "transactional.id": f"{bench.prefix}{GROUP}.p",
                "transaction.timeout.ms": 30_000,
                "retry.backoff.ms": 1,
                "linger.ms": 20_000,
            }
        )
        self.producer.init_transactions(20)

    def begin(self, metadata: str) -> None:
        topic = self._bench.prefix + "in"
        self.producer.begin_transaction()
        for number in range(self._bench.partitions):
            self.producer.produce(self._bench.prefix + "state", b"7", b"count", partition=number)
        offsets = [TopicPartition(topic, number, 3, metadata=metadata) for number in range(self._bench.partitions)]
        self.producer.send_offsets_to_transaction(offsets, self.member.consumer_group_metadata(), 10)

    def claim(self) -> None:
        mark = Mark("claim", "p", "1").encode()
        offsets = [
            TopicPartition(self._bench.prefix + "in", n, 0, metadata=mark) for n in range(self._bench.partitions)
        ]
        self.producer.begin_transaction()
        self.producer.send_offsets_to_transaction(offsets, self.member.consumer_group_metadata(), 10)
        self.producer.commit_transaction(10)

    def leave(self) -> None:
        """The group goes on without it, as after the time-out of its session."""
        self.member.unsubscribe()
        self.member.close()


@contextlib.contextmanager
def closing(*workers: Worker) -> Iterator[list[Worker]]:
    """No process outlives its test; append to the list what is started later."""
    running = list(workers)
    try:
        yield running
    finally:
        for worker in running:
            worker.close()


def assert_exactly_once(copies: list[dict[str, Any]], ids: list[str]) -> None:
    """Every id once, and the state counted along without a gap or a repetition in every partition."""
    found = [copy["id"] for copy in copies]
    assert sorted(found) == sorted(ids), (
        f"missing {sorted(set(ids) - set(found))[:5]}, doubled {sorted({x for x in found if found.count(x) > 1})[:5]}"
        if len(found) < 5000
        else f"{len(found)} copies of {len(ids)} records, {len(set(found))} different"
    )
    for partition in {copy["partition"] for copy in copies}:
        counts = [copy["count"] for copy in copies if copy["partition"] == partition]
        assert counts == list(range(1, len(counts) + 1)), f"partition {partition}: the state and the log went apart"
