"""Load in both directions while something is away, and what is measured meanwhile: sessions, memory, health.

Commands count as produced when Kafka acknowledged them. Of one that failed at the producer nobody knows whether it was
written: it may have one final result or none, and `Traffic.stop` tells which.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import KafkaError, Message

from compose.demo.simulator import Simulator, SimulatorError
from core.kafka.clients import KafkaClients
from core.oracle import Key
from tests.support.stack import LiveStack, Paired
from tests.support.waiting import wait_until

LOOK_SECONDS = 0.1
FLUSH_SECONDS = 60.0


class Traffic:
    """Every instance gets and sends one message per `period` seconds, from `start` to `stop`."""

    def __init__(self, stack: LiveStack, paired: Paired, contact: str, name: str, period: float = 0.2) -> None:
        """What the instances got and sent before counts as well."""
        before = stack.observe(paired)
        self.acknowledged = len(before.received)
        self.failed: dict[Key, str] = {}
        self.accepted = len(before.events_in)
        self._counting = threading.Lock()
        self._stack = stack
        self._paired = paired
        self._contact = contact
        self._name = name
        self._period = period
        self._over = threading.Event()
        self._producer = KafkaClients(stack.settings.kafka, "tests-traffic").producer()
        self._topic = f"{stack.settings.kafka.prefix}commands"
        self._pool = ThreadPoolExecutor(thread_name_prefix="traffic")
        self._goal = (self.accepted + 5 * len(paired.ids), self.acknowledged + 5 * len(paired.ids))
        self._running = [self._pool.submit(self._send), *(self._pool.submit(self._receive, one) for one in paired.ids)]

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *_: object) -> None:
        """Its threads end also when the test fails."""
        self._over.set()
        self._pool.shutdown()

    def wait_flowing(self, seconds: float = 60) -> None:
        """Until every instance has got and sent some."""
        wait_until(
            lambda: self.accepted >= self._goal[0] and self.acknowledged >= self._goal[1], seconds, "messages flow"
        )

    def stop(self) -> None:
        """No more is sent; then everything sent has been accepted or has failed."""
        self._over.set()
        for each in self._running:
            each.result()
        self._pool.shutdown()
        left = self._producer.flush(FLUSH_SECONDS)
        assert left == 0, f"{left} commands are neither acknowledged nor failed"

    def settle(self, seconds: float) -> dict[str, int]:
        """Stop, and wait until nothing is lost and nothing doubled. The counts."""
        self.stop()
        self._stack.system.flush()
        self._paired.commands += self._written_all_the_same()
        report = self._stack.settle(self._paired, seconds, incoming=self.accepted, outgoing=self.acknowledged)
        return report.counts

    def _written_all_the_same(self) -> list[Key]:
        """Failed at the producer, and yet in the log: those have to end in one result like all others."""
        if not self.failed:
            return []
        keys = {
            (str(record["instance_id"]), str(record["command_id"])) for record in self._stack.dump.records("results")
        }
        return sorted(keys & self.failed.keys())

    def _send(self) -> None:
        for number in itertools.count():
            if self._over.wait(self._period):
                return
            for instance in self._paired.ids:
                command = f"{self._name}-{instance}-{number}"
                body = {
                    "command_id": command,
                    "instance_id": instance,
                    "type": "send",
                    "to": self._contact,
                    "content": {"type": "text", "text": command},
                }
                self._producer.produce(
                    self._topic,
                    value=json.dumps(body).encode(),
                    key=instance.encode(),
                    on_delivery=partial(self._told, (instance, command)),
                )
            self._producer.poll(0)

    def _told(self, key: Key, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._paired.commands.append(key)
            self.acknowledged += 1
        else:
            self.failed[key] = error.name()

    def _receive(self, instance: str) -> None:
        phone = self._paired.phones[instance]
        for number in itertools.count():
            if self._over.wait(self._period):
                return
            self._stack.simulator.send(self._contact, phone, f"{self._name}-in-{instance}-{number}")
            with self._counting:
                self.accepted += 1


@dataclass(slots=True)
class Watched:
    """What was seen; times are seconds since the watch began."""

    went: dict[str, list[float]] = field(default_factory=dict)  # instance → when WhatsApp saw its device leave
    came: dict[str, list[float]] = field(default_factory=dict)
    rss: dict[str, list[int]] = field(default_factory=dict)  # process → bytes

    def spread(self, since: float) -> tuple[float, float]:
        """First and last return after a moment."""
        returns = [min(at for at in times if at >= since) for times in self.came.values()]
        return min(returns), max(returns)

    def grown(self, process: str) -> int:
        """How many bytes its memory was above its first sample at most."""
        samples = self.rss[process]
        return max(samples) - samples[0]


class Watch:
    """Looks at the phones' devices and at the memory of connector and host, in a thread of its own."""

    def __init__(self, stack: LiveStack, paired: Paired) -> None:
        self.seen = Watched({one: [] for one in paired.ids}, {one: [] for one in paired.ids})
        self.offline: set[str] = set()
        self._began = time.monotonic()
        self._instances = {phone: instance for instance, phone in paired.phones.items()}
        self._simulator = Simulator(stack.settings.simulator.control_url)
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._failure: BaseException | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._simulator.close()
        if self._failure is not None:
            raise self._failure

    def now(self) -> float:
        return time.monotonic() - self._began

    def _run(self) -> None:
        try:
            while not self._over.wait(LOOK_SECONDS):
                self._look()
        except (httpx.HTTPError, SimulatorError, OSError) as cause:
            self._failure = cause

    def _look(self) -> None:
        online = {
            self._instances[row["phone"]]
            for row in self._simulator.phones()
            if row["phone"] in self._instances and any(device["online"] for device in row["devices"])
        }
        now, offline = self.now(), set(self._instances.values()) - online
        for instance in offline - self.offline:
            self.seen.went[instance].append(now)
        for instance in self.offline - offline:
            self.seen.came[instance].append(now)
        self.offline = offline
        for name, pid in memory_pids(self._stack).items():
            size = rss(pid)
            if size:
                self.seen.rss.setdefault(name, []).append(size)


def memory_pids(stack: LiveStack) -> dict[str, int]:
    """The connector's process and its host's, those that are there now."""
    connector = stack.embedded.state.component("connector-1").pid
    if connector is None:
        return {}
    hosts = [child for child in _children(connector) if "wharf-host" in _command(child)]
    return {"connector": connector, **({"host": hosts[0]} if hosts else {})}


def rss(pid: int) -> int:
    """Resident bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _children(pid: int) -> list[int]:
    out: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                out += [int(each) for each in (task / "children").read_text().split()]
    return out


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextlib.contextmanager
def paused(stack: LiveStack, name: str) -> Iterator[None]:
    """The component stands still: its connections stay, nothing answers."""
    pid = stack.embedded.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        # It may have been killed meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def health(stack: LiveStack, name: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(stack.embedded.state.component(name).health_url, timeout=5)
    return answer.status_code, answer.json()


def wait_healthy(stack: LiveStack, names: tuple[str, ...], seconds: float) -> None:
    wait_until(lambda: all(health(stack, name)[0] == 200 for name in names), seconds, f"{names} are healthy")
