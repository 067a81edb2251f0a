"""Invariants 1, 4 and 7 on the whole system: kill -9 of each process by name, with messages in flight both ways.

Kafka, the registry and the simulator are the world here; every process of ours dies at least twice in each test. Afterwards
the ids in the simulator's ledgers and in an independent read_committed dump of the log are equal, and none stands twice.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.support.stack import LiveStack, Paired
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
ROUNDS = 2
PER_ROUND = 20
SETTLE_S = 150


class Load:
    """Messages both ways between every instance and every contact, some of them in flight at any moment."""

    def __init__(self, stack: LiveStack, paired: Paired, contacts: list[str], name: str) -> None:
        self.stack = stack
        self.paired = paired
        self.contacts = contacts
        self.name = name
        self.incoming = 0
        self.outgoing = 0
        self._pool = ThreadPoolExecutor(thread_name_prefix="flood")
        self._floods: list[Future[list[str]]] = []

    def start_round(self, number: int) -> None:
        for instance, phone in self.paired.phones.items():
            for contact in self.contacts:
                prefix = f"{self.name}-{number}-{instance}-{contact}-"
                self._floods.append(
                    self._pool.submit(self.stack.simulator.flood, contact, phone, PER_ROUND, prefix, rate_per_s=20)
                )
                self.incoming += PER_ROUND
                for at in range(PER_ROUND):
                    self.stack.send(self.paired, instance, contact, f"{prefix}{at}", f"{prefix}{at}")
                    self.outgoing += 1
        self.stack.system.flush()

    def wait_in_flight(self) -> None:
        """Until a part of what was started has arrived, so that the kill hits something."""
        before = len(self.stack.observe(self.paired).finals)
        wait_until(lambda: len(self.stack.observe(self.paired).finals) > before, 60, "sends are under way")

    def settle(self) -> None:
        for flood in self._floods:
            flood.result()
        self._pool.shutdown()
        report = self.stack.settle(self.paired, SETTLE_S, incoming=self.incoming, outgoing=self.outgoing)
        assert report.counts["in: events"] == self.incoming
        assert report.counts["out: received"] == self.outgoing


def _component(name: str) -> Callable[[LiveStack], None]:
    return lambda stack: stack.kill_and_wait(name)


def _session_host(stack: LiveStack) -> None:
    """A child of the connector, which starts it again."""
    url = stack.embedded.state.component("connector-1").health_url
    detail = httpx.get(url).json()["checks"]["host"]["detail"]
    os.kill(int(detail.split("pid ")[1].split(",")[0]), signal.SIGKILL)


KILLS = {
    "connector": _component("connector-1"),
    "session host": _session_host,
    "limiter": _component("limiter"),
    "registrar": _component("registrar"),
}


@pytest.fixture(scope="module")
def people(stack: LiveStack) -> tuple[Paired, list[str]]:
    return stack.add_instances(2), [stack.add_contact(), stack.add_contact()]


@pytest.mark.parametrize("name", KILLS)
def test_nothing_lost_nothing_doubled_when_killed(
    stack: LiveStack, people: tuple[Paired, list[str]], name: str
) -> None:
    known, contacts = people
    paired = Paired(known.phones, known.commands)
    load = Load(stack, paired, contacts, name.replace(" ", "-"))
    before = stack.observe(paired)
    load.incoming, load.outgoing = len(before.events_in), len(before.received)
    for number in range(ROUNDS):
        load.start_round(number)
        load.wait_in_flight()
        KILLS[name](stack)
    load.settle()


def test_nothing_lost_nothing_doubled_when_all_die_at_once(stack: LiveStack, people: tuple[Paired, list[str]]) -> None:
    known, contacts = people
    paired = Paired(known.phones, known.commands)
    load = Load(stack, paired, contacts, "all")
    before = stack.observe(paired)
    load.incoming, load.outgoing = len(before.events_in), len(before.received)
    load.start_round(0)
    load.wait_in_flight()
    names = ["connector-1", "limiter", "registrar"]
    restarts = {name: stack.embedded.state.component(name).restarts for name in names}
    for name in names:
        stack.kill(name)
    for name in names:
        stack.wait_restarted(name, restarts[name])
    load.settle()
