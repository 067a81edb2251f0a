"""Kills of connector and host, under load and at placed points: ids in the ledgers and in the log are equal, none twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.connector_stack import ConnectorStack, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)
PHONES = {"crash-1": "4915200001", "crash-2": "4915200002"}
CONTACTS = ("4915200101", "4915200102")
SETTLED_S = 90


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("connector")) as made:
        made.start()
        for contact in CONTACTS:
            made.simulator.contact(contact)
        for instance_id, phone in PHONES.items():
            made.pair(instance_id, phone)
        yield made


class Load:
    """Messages both ways, and the comparison of what was accepted with what is in log and ledgers."""

    def __init__(self, stack: ConnectorStack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.incoming: dict[str, list[str]] = {instance_id: [] for instance_id in PHONES}
        self.commands: list[str] = []
        self._pool = ThreadPoolExecutor(len(PHONES) * len(CONTACTS))
        self._floods: list[tuple[str, Future[list[str]]]] = []

    def add(self, count: int) -> None:
        """Commands at once; the contacts write in the background."""
        stack = self.stack
        for instance_id in PHONES:
            for contact in CONTACTS:
                # The ids of a flood are its prefix and a number: no two floods may share one.
                prefix = f"{self.name}-{len(self._floods) + len(self.commands)}-"
                flood = self._pool.submit(self._flood, instance_id, contact, count, prefix)
                self._floods.append((instance_id, flood))
                for _ in range(count):
                    command_id = f"{self.name}-{len(self.commands)}"
                    stack.text(command_id, instance_id, contact, f"out {command_id}")
                    self.commands.append(command_id)
        stack.streams.flush()

    def _flood(self, instance_id: str, contact: str, count: int, prefix: str) -> list[str]:
        return self.stack.simulator.flood(contact, PHONES[instance_id], count, prefix, rate_per_s=60)

    def _join(self) -> None:
        for instance_id, flood in self._floods:
            self.incoming[instance_id] += flood.result(60)
        self._floods.clear()

    def _in_log(self) -> bool:
        return all(self.stack.in_counts(instance_id).keys() >= set(ids) for instance_id, ids in self.incoming.items())

    def settle(self) -> None:
        stack = self.stack
        self._join()
        wait_until(self._in_log, SETTLED_S, f"everything that came in is in the log; {stack.connector.tail()}")
        wait_until(
            lambda: stack.finals().keys() >= set(self.commands),
            SETTLED_S,
            f"every command has its final; {[stack.shown(name) for name in PHONES]}",
        )

    def check(self) -> None:
        stack = self.stack
        for instance_id, ids in self.incoming.items():
            counts = stack.in_counts(instance_id)
            assert {each: counts[each] for each in ids if counts[each] != 1} == {}
        finals = stack.finals()
        assert {each: finals[each] for each in self.commands if finals[each] != ["sent"]} == {}
        out = {
            each["command_id"]: each["key"]["id"]
            for instance_id in PHONES
            for each in stack.messages(instance_id, "out")
            if each["command_id"] in set(self.commands)
        }
        assert out.keys() == set(self.commands)
        wait_until(
            lambda: stack.ledger_counts().keys() >= set(out.values()), SETTLED_S, "every send arrived at its contact"
        )
        ledger = stack.ledger_counts()
        assert {each: ledger[each] for each in out.values() if ledger[each] != 1} == {}
        self._check_order(out)

    def _check_order(self, out: dict[str, str]) -> None:
        """Per chat, what arrived first arrived in the order of the commands."""
        place = {message_id: number for number, command in enumerate(self.commands) if (message_id := out[command])}
        seen: dict[tuple[Any, Any], list[int]] = {}
        for row in self.stack.simulator.received(dedupe=True):
            if row["id"] in place:
                seen.setdefault((row["recipient"], row["sender"]), []).append(place[row["id"]])
        assert all(numbers == sorted(numbers) for numbers in seen.values())


def kill_connector(stack: ConnectorStack) -> None:
    stack.connector.kill()
    stack.start()


def kill_host(stack: ConnectorStack) -> None:
    os.kill(stack.host_pid(), signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_connector, kill_host])
def test_kill_under_load(stack: ConnectorStack, kill: Callable[[ConnectorStack], None]) -> None:
    load = Load(stack, kill.__name__)
    for _ in range(3):
        finals = len(stack.finals())
        load.add(25)
        wait_until(lambda at=finals: len(stack.finals()) > at, 30, "sends are under way")  # type: ignore[misc]
        kill(stack)
    load.settle()
    load.check()


@pytest.mark.parametrize(
    "faults",
    [
        {"crash": {"point": "after_queued", "nth": 1}},
        {"crash": {"point": "after_sending", "nth": 3}},
        {"crash": {"point": "before_durable", "nth": 5}},
        {"crash": {"point": "after_durable", "nth": 5}},
        {"crash": {"point": "after_final", "nth": 2}},
        {"crash": {"point": "before_commit", "nth": 6}},
        {"crash": {"point": "after_commit", "nth": 6}},
        {"abort_commits": [2, 3, 7, 8, 9]},
    ],
    ids=lambda faults: str(next(iter(faults.values()))),
)
def test_connector_dies_at_a_placed_point(stack: ConnectorStack, faults: dict[str, Any]) -> None:
    stack.connector.kill()
    crashing = stack.start(faults, wait=False)
    load = Load(stack, f"placed-{len(stack.connectors)}")
    load.add(5)
    if "abort_commits" not in faults:
        assert crashing.wait(60) == -signal.SIGKILL
        stack.start()
    load.settle()
    load.check()


@pytest.mark.parametrize(
    ("point", "passage"),
    [
        ("after_ratchet", 4),
        ("after_undecryptable_ack", 1),
        ("before_journal", 4),
        ("after_durable", 4),
        ("after_sending", 4),
        ("after_wire", 4),
    ],
)
def test_host_dies_at_a_placed_point(stack: ConnectorStack, point: str, passage: int) -> None:
    stack.connector.kill()
    connector = stack.start({"host": {"crash_at": [[point, passage]]}})
    if point == "after_undecryptable_ack":
        for phone in PHONES.values():
            stack.simulator.call("POST", f"/v1/phones/{phone}/faults", corrupt=2)
    load = Load(stack, f"host-{point}")
    load.add(5)
    wait_until(
        lambda: any(line.get("event") == "host_gone" for line in connector.lines()), 60, "the host died at its point"
    )
    # The next host gets the same point again: without faults from here on.
    stack.connector.kill()
    stack.start()
    load.settle()
    load.check()


def test_ids_of_results_are_unique(stack: ConnectorStack) -> None:
    finals = Counter(each["result_id"] for each in stack.streams.records("results") if each["final"])
    assert {each: count for each, count in finals.items() if count != 1} == {}
