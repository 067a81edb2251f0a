"""A kill counts by the work of what is killed, looked at right before the signal: work elsewhere makes none count."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from compose.chaos import faults
from compose.chaos.faults import Done, Faults
from compose.chaos.schedule import Step
from compose.chaos.seen import Seen
from compose.chaos.workload import Flight
from core.histories import Claim
from core.ids import partition_for

SLOT, INSTANCE = "connector-1", "a"
STARTED = 10.0


class Load:
    """Everything is in flight somewhere; `admitted` are the commands at connectors, by instance."""

    def __init__(self, admitted: dict[str, int], undecided: int = 0, unanswered: int = 0) -> None:
        self._admitted, self._undecided, self._unanswered = admitted, undecided, unanswered
        self.given: list[Sequence[str]] = []

    def burst(self, instances: Sequence[str], _count: int) -> None:
        self.given.append(instances)

    def ask(self, _instances: Sequence[str]) -> None: ...

    def in_flight(self, _instances: Collection[str] | None = None) -> Flight:
        return Flight(50, 50, 50)

    def at_connectors(self, instances: Collection[str]) -> int:
        return sum(count for instance, count in self._admitted.items() if instance in instances)

    def undecided(self) -> int:
        return self._undecided

    def unanswered(self) -> int:
        return self._unanswered


class World:
    """Processes that sleep, and were all started at the same time."""

    def __init__(self) -> None:
        self.names = [SLOT]
        self.sites = [SimpleNamespace(name=SLOT)]
        self.people = SimpleNamespace(phones={INSTANCE: "1", "b": "2"})
        self.settings = SimpleNamespace(kafka=SimpleNamespace(partitions=8))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def pid(self, name: str) -> int:
        if name not in self.processes:
            self.processes[name] = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        return self.processes[name].pid

    def host_pid(self, name: str) -> int:
        return self.pid(name + faults.HOST)

    def started_at(self, _pid: int) -> float:
        return STARTED

    def part(self, _name: str) -> Any:
        return SimpleNamespace(restarts=0)

    def wait_until(self, condition: Callable[[], Any], _seconds: float, _poll_s: float = 0.0) -> Any:
        return condition()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(faults, "IN_FLIGHT_S", 0.1)
    made = World()
    yield made
    for process in made.processes.values():
        process.kill()
        process.communicate()


def seen(claimed_at: float, online_at: float) -> Seen:
    out = Seen()
    out.take_mark(Claim(partition_for(INSTANCE, 8), 1, "claim", SLOT, "i"), claimed_at)
    envelope = {"instance_id": INSTANCE, "session_epoch": 1, "seq": 1}
    out.take_event("events.session", {"envelope": envelope, "state": "online"}, online_at, online_at)
    return out


def kill(world: World, load: Load, tail: Seen, fault: str) -> Done:
    step = Step(1, fault, 0.0, 0.0, 0, False, random.Random(1))
    return Faults(world, load, tail).do(step)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["kill_connector", "kill_host"])
def test_commands_of_the_instances_online_there_count(world: World, fault: str) -> None:
    load = Load({INSTANCE: 3, "b": 9})
    done = kill(world, load, seen(11.0, 12.0), fault)
    assert (done.kills, done.idle, list(done.work.values()), list(done.moved)) == (1, 0, [3], [INSTANCE])
    assert load.given[-1] == [INSTANCE]
    assert world.processes[done.hit[0]].wait() < 0


@pytest.mark.parametrize("fault", ["kill_connector", "kill_host"])
@pytest.mark.parametrize(("claimed_at", "online_at"), [(8.0, 9.0), (8.0, 12.0), (11.0, 9.0)])
def test_what_a_former_run_had_online_is_none_of_its_work(
    world: World, fault: str, claimed_at: float, online_at: float
) -> None:
    done = kill(world, Load({INSTANCE: 3, "b": 9}), seen(claimed_at, online_at), fault)
    assert (done.kills, done.idle, list(done.moved)) == (0, 1, [])


@pytest.mark.parametrize(
    ("fault", "load", "kills"),
    [
        ("kill_limiter", Load({INSTANCE: 9}, undecided=2), 1),
        ("kill_limiter", Load({INSTANCE: 9}, unanswered=2), 0),
        ("kill_registrar", Load({INSTANCE: 9}, unanswered=2), 1),
        ("kill_registrar", Load({INSTANCE: 9}, undecided=2), 0),
        ("kill_registry", Load({INSTANCE: 9}, 2, 2), 0),
        ("kill_broker", Load({}), 1),
        ("kill_all", Load({INSTANCE: 9}, undecided=1), 2),
    ],
)
def test_each_counts_by_its_own_work(world: World, fault: str, load: Load, kills: int) -> None:
    done = kill(world, load, seen(11.0, 12.0), fault)
    assert (done.kills, done.kills + done.idle) == (kills, len(done.hit))
