"""The limiter as a process, on a real Kafka and registry, together with the registrar."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import ids
from tests.support.kafka import RunningKafka
from tests.support.limiter import command
from tests.support.streams import PARTITIONS, Process, Streams, running_streams
from tests.support.waiting import wait_until

GRACE_MS = "1500"


@pytest.fixture(scope="module")
def streams(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    folder = tmp_path_factory.mktemp("limiter")
    with running_streams(kafka, prefix, folder, WHARF_LIMITER__UNKNOWN_GRACE_MS=GRACE_MS) as running:
        running.start("registrar")
        running.start("limiter")
        for process in running.started:
            process.wait_healthy()
        yield running


def create(streams: Streams, instance_id: str, **body: Any) -> int:
    """A new instance; gives its generation."""
    answer = streams.ask("instance_create", instance_id, body=body)
    assert answer["outcome"] == "accepted", answer
    return int(next(i for i in streams.records("instances") if i["instance_id"] == instance_id)["generation"])


def admitted(streams: Streams, instance_id: str) -> list[dict[str, Any]]:
    return [a for a in streams.records("commands.admitted") if a["instance_id"] == instance_id]


def test_instance_added_and_used_at_once(streams: Streams) -> None:
    """Nobody has to wait between adding an instance and sending to it."""
    streams.request("instance_create", "fresh")
    pair = streams.command(command("pair-1", "fresh", "pair"))
    send = streams.command(command("send-1", "fresh", metadata={"order": "17"}), avro=True)
    streams.flush()
    streams.wait_result("pair-1", "admitted")
    delayed = streams.wait_result("send-1", "delayed")
    assert not delayed["final"]
    assert delayed["metadata"] == {"order": "17"}
    assert [a["command"] for a in admitted(streams, "fresh")] == [pair]

    generation = next(i for i in streams.records("instances") if i["instance_id"] == "fresh")["generation"]
    streams.session("fresh", generation, "online")
    streams.flush()
    passed = streams.wait_result("send-1", "admitted")
    assert passed["revision"] > delayed["revision"]
    assert passed["result_id"] == delayed["result_id"] == ids.result_id("fresh", "send-1")
    last = admitted(streams, "fresh")[-1]
    assert last["command"] == send, "the bytes of the command are untouched"
    assert last["decision"]["outcome"] == "released"
    assert last["decision"]["interval_ms"] == 200


def test_unknown_instance_is_rejected_after_its_grace(streams: Streams) -> None:
    streams.command(command("nobody-1", "nobody"))
    streams.flush()
    rejected = streams.wait_result("nobody-1", "rejected")
    assert rejected["final"]
    assert rejected["error"]["code"] == "api.not_found"
    told = streams.results("nobody-1")
    assert [r["state"] for r in told] == ["delayed", "rejected"]
    assert rejected["occurred_at"] - told[0]["occurred_at"] >= int(GRACE_MS)


def test_duplicates_get_the_stored_result(streams: Streams) -> None:
    """JSON and Avro of one body are one command; the connector's final is what a duplicate gets afterwards."""
    generation = create(streams, "twice", limits={"mode": "off", "overrides": {}})
    streams.session("twice", generation, "online")
    body = command("dup-1", "twice")
    streams.command(body)
    streams.flush()
    first = streams.wait_result("dup-1", "admitted")
    streams.command(body, avro=True)
    streams.flush()
    assert streams.wait_result("dup-1", "admitted", count=2) == first
    assert len(admitted(streams, "twice")) == 1

    final = {**first, "state": "sent", "final": True, "revision": 103, "message_id": "3EB0AA"}
    streams.put("results", "twice", streams.codec.encode("results", final))
    streams.command(command("dup-1", "twice", metadata={"other": "body"}))
    streams.flush()
    mismatch = streams.wait_result("dup-1", "rejected")
    assert mismatch["error"]["code"] == "api.idempotency_mismatch"
    assert mismatch["result_id"] != first["result_id"]

    # The limiter reads its inputs apart from each other: ask until it has read the final.
    def told_final() -> bool:
        streams.command(body)
        streams.flush()
        return [r["state"] for r in streams.results("dup-1")].count("sent") >= 2

    wait_until(told_final, 30, "a duplicate gets the final result")
    sent = [r for r in streams.results("dup-1") if r["state"] == "sent"]
    assert all(r == sent[0] for r in sent)
    assert len(admitted(streams, "twice")) == 1


def test_wrong_partition_is_forwarded(streams: Streams) -> None:
    generation = create(streams, "moved", limits={"mode": "off", "overrides": {}})
    streams.session("moved", generation, "online")
    streams.flush()
    right = ids.partition_for("moved", PARTITIONS)
    value = streams.command(command("moved-1", "moved"), partition=(right + 1) % PARTITIONS)
    streams.flush()
    streams.wait_result("moved-1", "admitted")
    (record,) = admitted(streams, "moved")
    assert record["command"] == value
    assert record["origin"]["partition"] == right
    stood = [r.partition for r in streams.dump("commands") if r.value == value]
    assert sorted(stood) == sorted([right, (right + 1) % PARTITIONS])


def test_undecodable_commands_are_dead_letters_and_stop_nothing(streams: Streams) -> None:
    generation = create(streams, "poisoned", limits={"mode": "off", "overrides": {}})
    streams.session("poisoned", generation, "online")
    values = {
        b"\x00\xff\xff\xff\xffrubbish": ("api.unknown_schema", None),
        b'{"command_id": "p-1", "instance_id": "poisoned", "type": "sned"}': ("api.validation", "type"),
        b'{"command_id": "p-2", "instance_id": "poisoned"}': ("api.validation", "type"),
        b"not a command": ("api.validation", None),
        b"": ("api.validation", None),
    }
    for value in values:
        streams.put("commands", "poisoned", value)
    streams.command(command("p-3", "poisoned"))
    streams.flush()
    streams.wait_result("p-3", "admitted")
    letters = {letter["value"]: letter for letter in streams.records("deadletter") if letter["key"] == b"poisoned"}
    assert letters.keys() == values.keys()
    for value, (code, field) in values.items():
        assert (letters[value]["code"], letters[value]["field"]) == (code, field)
        assert letters[value]["process"] == "limiter"
        assert letters[value]["origin_topic"] == "commands"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"to": "no number"}, "to"),
        ({"content": {"type": "text", "text": ""}}, "content.text"),
        ({"content": {"type": "text", "text": "x" * 65_537}}, "content.text"),
        ({"content": {"type": "poll"}}, "content.type"),
        ({"type": "vote"}, "type"),
        ({"not_before": 10, "expires_at": 5}, "not_before"),
        ({"metadata": {"k": "v" * 20_000}}, "metadata"),
    ],
)
def test_invalid_commands_are_rejected_with_their_field(streams: Streams, fields: dict[str, Any], field: str) -> None:
    name = f"invalid-{abs(hash(str(fields)))}"
    streams.command({**command(name, "poisoned"), **fields})
    streams.flush()
    rejected = streams.wait_result(name, "rejected")
    assert rejected["error"]["code"] == "api.validation"
    assert rejected["error"]["field"] == field


def test_cancel_of_a_held_command(streams: Streams) -> None:
    create(streams, "cancels")
    streams.command(command("held-1", "cancels"))
    streams.flush()
    streams.wait_result("held-1", "delayed")
    streams.command(command("cancel-1", "cancels", "cancel", target_command_id="held-1"))
    streams.command(command("cancel-2", "cancels", "cancel", target_command_id="held-1"))
    streams.command(command("cancel-3", "cancels", "cancel", target_command_id="never"))
    streams.flush()
    assert streams.wait_result("held-1", "cancelled")["final"]
    assert streams.wait_result("cancel-1", "done")["final"]
    assert streams.wait_result("cancel-2", "rejected")["error"]["code"] == "api.conflict"
    assert streams.wait_result("cancel-3", "rejected")["error"]["code"] == "api.not_found"


def test_deletion_cancels_what_is_held(streams: Streams) -> None:
    create(streams, "leaving")
    streams.command(command("late-1", "leaving"))
    streams.flush()
    streams.wait_result("late-1", "delayed")
    assert streams.ask("instance_delete", "leaving")["outcome"] == "accepted"
    assert streams.wait_result("late-1", "cancelled")["final"]
    streams.command(command("late-2", "leaving"))
    streams.flush()
    assert streams.wait_result("late-2", "rejected")["error"]["code"] == "api.not_found"


def test_pace_after_a_silence(streams: Streams) -> None:
    """What was held while offline does not leave in a burst, and leaves in order."""
    generation = create(streams, "paced", limits={"mode": "custom", "overrides": {"interval_ms": "300"}})
    names = [f"paced-{n}" for n in range(6)]
    for name in names:
        streams.command(command(name, "paced"))
    streams.flush()
    streams.wait_result(names[-1], "delayed")
    streams.session("paced", generation, "online")
    streams.flush()
    streams.wait_result(names[-1], "admitted")
    passed = admitted(streams, "paced")
    assert [a["command_id"] for a in passed] == names
    gaps = [later["admitted_at"] - former["admitted_at"] for former, later in itertools.pairwise(passed)]
    assert min(gaps) >= 300


def test_orderly_stop_and_telemetry(streams: Streams, tmp_path: Path) -> None:
    """SIGTERM ends the process in time with code 0; health and metrics are served until then."""
    import httpx

    limiter: Process = next(p for p in streams.started if p.module == "streams.limiter" and p.alive)
    text = httpx.get(f"{limiter.url()}/metrics", timeout=5).text
    assert 'wharf_limiter_decisions_total{outcome="admitted"}' in text
    assert "wharf_limiter_delayed_commands" in text
    code, seconds = limiter.stop()
    assert code == 0, limiter.tail()
    assert seconds < 5
