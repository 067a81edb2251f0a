"""The limiter killed in the middle of its work: no command is lost, none is decided twice, what is held stays held."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.kafka import RunningKafka
from tests.support.limiter import command
from tests.support.streams import Streams, running_streams
from tests.support.waiting import wait_until

INSTANCES = [f"load-{n}" for n in range(8)]
OFF = {"limits": {"mode": "off", "overrides": {}}}


@pytest.fixture(scope="module")
def streams(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    with running_streams(kafka, prefix, tmp_path_factory.mktemp("kills")) as running:
        running.start("registrar").wait_healthy()
        for name in (*INSTANCES, "asleep"):
            assert running.ask("instance_create", name, body=OFF)["outcome"] == "accepted"
        for instance in running.records("instances"):
            if instance["instance_id"] != "asleep":
                running.session(instance["instance_id"], instance["generation"], "online")
        running.flush()
        yield running


def load(streams: Streams, batch: str, count: int) -> list[str]:
    """Commands over all instances, every tenth twice, some for the sleeping instance, some invalid."""
    names = []
    for n in range(count):
        instance = "asleep" if n % 20 == 19 else INSTANCES[n % len(INSTANCES)]
        record: dict[str, Any] = command(f"{batch}-{n}", instance)
        if n % 50 == 7:
            record["content"]["text"] = ""
        names.append(record["command_id"])
        streams.command(record, avro=n % 2 == 0)
        if n % 10 == 0:
            streams.command(record, avro=n % 4 == 0)
    streams.flush()
    return names


def check(streams: Streams, names: list[str], *, asleep: str) -> None:
    """Every command has exactly one fate, told under one result id."""
    passed = Counter(a["command_id"] for a in streams.records("commands.admitted"))
    told = streams.records("results")
    finals = {(r["command_id"], r["result_id"]) for r in told if r["final"]}
    ended = Counter(name for name, _ in finals)
    for n, name in enumerate(names):
        if n % 50 == 7:
            assert (passed[name], ended[name]) == (0, 1), name
        elif n % 20 == 19 and asleep == "held":
            assert (passed[name], ended[name]) == (0, 0), name
        else:
            assert (passed[name], ended[name]) == (1, 0), name
    by_revision = {(r["result_id"], r["revision"]): r for r in told}
    assert all(by_revision[r["result_id"], r["revision"]] == r for r in told), "one revision told two things"


def done(streams: Streams, names: list[str]) -> bool:
    return set(names) <= {r["command_id"] for r in streams.records("results")}


@pytest.mark.parametrize("point", ["before_begin", "before_commit", "after_commit"])
def test_killed_at_a_point_of_the_transaction(streams: Streams, point: str) -> None:
    faults = json.dumps({"crash": {"point": point, "nth": 4}})
    limiter = streams.start("limiter", WHARF_ALLOW_FAULTS="1", WHARF_TEST_FAULTS=faults)
    limiter.wait_healthy()
    names: list[str] = []
    while limiter.alive:
        part = load(streams, f"{point}-{len(names)}", 40)
        names += part
        wait_until(lambda: done(streams, part) or not limiter.alive, 60, "decided, or dead")  # noqa: B023
    assert limiter.wait() == -9
    again = streams.start("limiter")
    wait_until(lambda: done(streams, names), 60, "every command has a result")
    again.kill()
    for start in range(0, len(names), 40):
        check(streams, names[start : start + 40], asleep="held")


def test_killed_at_random_under_load(streams: Streams) -> None:
    """Kill -9 several times while commands pour in, then wake the instance that slept through it."""
    rng = random.Random(17)
    names: list[str] = []
    limiter = streams.start("limiter")
    for kill in range(5):
        part = load(streams, f"random-{kill}", 400)
        names += part
        enough = rng.sample(part, 5)
        wait_until(lambda: any(r["command_id"] in enough for r in streams.records("results")), 60, "work has begun")  # noqa: B023
        limiter.kill()
        limiter = streams.start("limiter")
    wait_until(lambda: done(streams, names), 60, "every command has a result")
    for kill in range(5):
        check(streams, names[kill * 400 : kill * 400 + 400], asleep="held")

    limiter.kill()
    limiter = streams.start("limiter")
    (asleep,) = [i for i in streams.records("instances") if i["instance_id"] == "asleep"]
    streams.session("asleep", asleep["generation"], "online")
    streams.flush()

    def awake() -> bool:
        waiting = {r["command_id"] for r in streams.records("results") if r["state"] == "delayed"}
        return waiting <= {a["command_id"] for a in streams.records("commands.admitted")}

    wait_until(awake, 60, "all that was held has left")
    for kill in range(5):
        check(streams, names[kill * 400 : kill * 400 + 400], asleep="released")
    order = [a["command_id"] for a in streams.records("commands.admitted") if a["instance_id"] == "asleep"]
    stood = [
        json.loads(r.value or b"")["command_id"] for r in streams.dump("commands") if r.value and r.value[:1] == b"{"
    ]
    in_json = [name for name in order if name in set(stood)]
    assert in_json == sorted(in_json, key=stood.index), "the order of the chat"
