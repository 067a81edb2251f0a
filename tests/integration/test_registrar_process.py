"""The registrar as a process, on a real Kafka and registry: compare-and-set, idempotence, kills."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from core import ids
from tests.support.kafka import RunningKafka
from tests.support.streams import PARTITIONS, Streams, running_streams
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def streams(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    with running_streams(kafka, prefix, tmp_path_factory.mktemp("registrar")) as running:
        running.start("registrar").wait_healthy()
        yield running


def newest(streams: Streams) -> dict[str, Any]:
    """The table as a reader of `wa.instances` has it."""
    table: dict[str, Any] = {}
    for record in streams.dump("instances"):
        name = (record.key or b"").decode()
        if record.value is None:
            table.pop(name, None)
        else:
            table[name] = streams.codec.decode("instances", record.value)
    return table


def test_create_change_delete(streams: Streams) -> None:
    created = streams.ask("instance_create", "shop", body={"label": "Shop"})
    assert (created["outcome"], created["version"]) == ("accepted", 1)
    assert streams.ask("instance_create", "shop")["error"]["code"] == "api.conflict"
    changed = streams.ask("instance_change", "shop", expected_version=1, body={"desired": "stopped"})
    assert (changed["outcome"], changed["version"]) == ("accepted", 2)
    instance = newest(streams)["shop"]
    assert (instance["desired"], instance["label"], instance["requested_by"]) == ("stopped", "Shop", "test")
    assert streams.ask("instance_delete", "shop", expected_version=2)["version"] == 3
    assert newest(streams)["shop"]["desired"] == "deleted"
    again = streams.ask("instance_create", "shop")
    assert (again["outcome"], again["version"]) == ("accepted", 4)
    assert newest(streams)["shop"]["generation"] > instance["generation"]


def test_of_two_who_read_the_same_version_one_writes(streams: Streams) -> None:
    streams.ask("instance_create", "raced")
    asked = [
        streams.request("instance_change", "raced", expected_version=1, body={"label": f"writer {n}"}) for n in range(5)
    ]
    streams.flush()
    answers = streams.wait_for(
        lambda: found if len(found := [a for a in streams.records("audit") if a["request_id"] in asked]) == 5 else [],
        "five answers",
    )
    assert Counter(a["outcome"] for a in answers) == {"accepted": 1, "rejected": 4}
    assert {a["error"]["code"] for a in answers if a["error"]} == {"api.conflict"}
    assert newest(streams)["raced"]["version"] == 2


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("Not-A-Slug", {}, "instance_id"),
        ("good-1", {"body": {"simulated": True}}, "body.simulated"),
        ("good-1", {"body": {"driver": "baileys"}}, "body.driver"),
        ("good-1", {"body": {"proxy": "ftp://host"}}, "body.proxy"),
        ("good-1", {"body": {"settings": {"colour": "red"}}}, "body.settings.colour"),
        (
            "good-1",
            {"body": {"limits": {"mode": "custom", "overrides": {"speed": "1"}}}},
            "body.limits.overrides.speed",
        ),
        ("good-1", {"body": {"desired": "deleted"}}, "body.desired"),
    ],
)
def test_refused_with_the_field(streams: Streams, name: str, fields: dict[str, Any], field: str) -> None:
    answer = streams.ask("instance_create", name, **fields)
    assert answer["outcome"] == "rejected"
    assert (answer["error"]["code"], answer["error"]["field"]) == ("api.validation", field)
    assert name not in newest(streams)


def test_wrong_partition_and_rubbish(streams: Streams) -> None:
    """A request on another partition is decided on the right one; what cannot be decoded is a dead letter."""
    right = ids.partition_for("elsewhere", PARTITIONS)
    record = {
        "request_id": "elsewhere-1",
        "kind": "instance_create",
        "instance_id": "elsewhere",
        "requested_by": "test",
        "requested_at": 1,
    }
    value = streams.codec.encode("control", record)
    streams.put("control", "elsewhere", b"rubbish", (right + 1) % PARTITIONS)
    streams.put("control", "elsewhere", value, (right + 1) % PARTITIONS)
    streams.flush()
    (answer,) = streams.wait_for(
        lambda: [a for a in streams.records("audit") if a["request_id"] == "elsewhere-1"], "the answer"
    )
    assert answer["outcome"] == "accepted"
    assert newest(streams)["elsewhere"]["version"] == 1
    (letter,) = [letter for letter in streams.records("deadletter") if letter["key"] == b"elsewhere"]
    assert (letter["value"], letter["code"], letter["process"]) == (b"rubbish", "api.validation", "registrar")


def test_the_same_request_gets_the_same_answer_after_a_kill(streams: Streams) -> None:
    first = streams.ask("instance_create", "once", request_id="once-1")
    assert first["outcome"] == "accepted"
    running = next(p for p in streams.started if p.alive)
    running.kill()
    again = streams.start("registrar")
    streams.request("instance_create", "once", request_id="once-1")
    streams.flush()
    answers = streams.wait_for(
        lambda: found if len(found := [a for a in streams.records("audit") if a["request_id"] == "once-1"]) > 1 else [],
        "the second answer",
    )
    assert all(answer == first for answer in answers)
    assert newest(streams)["once"]["version"] == 1
    streams.request("instance_delete", "once", request_id="once-1")
    streams.flush()
    streams.wait_for(
        lambda: [
            a
            for a in streams.records("audit")
            if a["request_id"] == "once-1" and a["error"] and a["error"]["code"] == "api.idempotency_mismatch"
        ],
        "the mismatch",
    )
    assert newest(streams)["once"]["desired"] == "online"
    code, seconds = again.stop()
    assert (code, seconds < 5) == (0, True), again.tail()


@pytest.mark.parametrize("point", ["before_begin", "before_commit", "after_commit"])
def test_killed_in_the_middle(streams: Streams, point: str) -> None:
    """Every request is answered once, and what was accepted stands in the table, whenever the process dies."""
    for process in streams.started:
        process.kill()
    faults = json.dumps({"crash": {"point": point, "nth": 3}})
    dying = streams.start("registrar", WHARF_ALLOW_FAULTS="1", WHARF_TEST_FAULTS=faults)
    dying.wait_healthy()
    asked: list[str] = []
    name = f"kill-{point.replace('_', '-')}"

    def answered() -> Counter[str]:
        return Counter(a["request_id"] for a in streams.records("audit"))

    while dying.alive:
        kind = "instance_create" if not asked else "instance_change"
        body = {"label": f"change {len(asked)}"}
        asked.append(streams.request(kind, name, request_id=f"{point}-{len(asked)}", body=body))
        streams.flush()
        wait_until(lambda: answered()[asked[-1]] or not dying.alive, 30, "answered, or dead")
    assert dying.wait() == -9
    streams.start("registrar")
    wait_until(lambda: all(answered()[request] for request in asked), 30, "every request is answered")
    counts = answered()
    assert [counts[request] for request in asked] == [1] * len(asked)
    assert all(a["outcome"] == "accepted" for a in streams.records("audit") if a["request_id"] in asked)
    instance = newest(streams)[name]
    assert (instance["version"], instance["label"]) == (len(asked), f"change {len(asked) - 1}")


def test_simulated_instances_need_the_setting(streams: Streams) -> None:
    for process in streams.started:
        process.kill()
    streams.start("registrar", WHARF_SIMULATOR__ENABLED="true").wait_healthy()
    answer = streams.ask("instance_create", "pretend", body={"simulated": True})
    assert answer["outcome"] == "accepted"
    assert newest(streams)["pretend"]["simulated"] is True
    assert streams.ask("instance_change", "pretend", body={"simulated": False})["error"]["field"] == "body.simulated"
