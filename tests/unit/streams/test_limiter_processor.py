"""The limiter's processor driven as the loop drives it, without Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core import ids
from core.kafka.processor import Batch, InRecord, OutRecord
from core.telemetry.metrics import Metrics
from streams.limiter.limits import Policy
from streams.limiter.processor import LimiterProcessor
from tests.support.limiter import CODEC, T0, admitted, as_avro, as_json, command, results, session_event

PARTITIONS = 4
HOME = ids.partition_for("sales-1", PARTITIONS)
OTHER = (HOME + 1) % PARTITIONS


def instance(**fields: Any) -> bytes:
    record = {"instance_id": "sales-1", "generation": 7, "version": 1, "desired": "online", "updated_at": T0, **fields}
    return CODEC.encode("instances", record)


def incoming(topic: str, value: bytes | None, offset: int, partition: int = HOME, **extra: Any) -> InRecord:
    return InRecord(topic, partition, offset, T0, b"sales-1", value, **extra)


def starts(position: int = 0) -> dict[tuple[str, int], int]:
    return {(topic, HOME): position for topic in ("commands", "results", "events.session")}


@pytest.fixture
def processor(tmp_path: Path) -> LimiterProcessor:
    made = LimiterProcessor(CODEC, partitions=PARTITIONS, folder=tmp_path, policy=Policy(), metrics=Metrics())
    made.table(incoming("instances", instance(), 0))
    made.owned(HOME, starts())
    return made


def records(batch: Batch, partition: int = HOME) -> list[OutRecord]:
    return batch[partition].records


def online(processor: LimiterProcessor) -> None:
    processor.collect(
        [incoming("events.session", CODEC.encode("events.session", session_event("sales-1", 7, "online")), 0)], T0
    )


def test_a_command_and_its_position_are_one_batch(processor: LimiterProcessor) -> None:
    online(processor)
    batch = processor.collect([incoming("commands", as_json(command("c1")), 5)], T0)
    assert batch[HOME].positions[("commands", HOME)] == 6
    assert sorted({r.topic for r in records(batch)}) == ["commands.admitted", "limits", "results"]
    for record in records(batch):
        if record.topic == "limits":
            assert record.partition == HOME
        else:
            assert (record.key, record.partition) == (b"sales-1", None)


def test_traceparent_goes_along_also_through_a_wait_and_a_restart(processor: LimiterProcessor, tmp_path: Path) -> None:
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    held = processor.collect([incoming("commands", as_json(command("c1")), 0, headers=(("traceparent", trace),))], T0)
    again = LimiterProcessor(CODEC, partitions=PARTITIONS, folder=tmp_path / "2", policy=Policy(), metrics=Metrics())
    for record in records(held):
        if record.topic == "limits":
            again.restore(HOME, record.key or b"", record.value)
    again.table(incoming("instances", instance(), 0))
    again.owned(HOME, starts(1))
    event = CODEC.encode("events.session", session_event("sales-1", 7, "online"))
    released = records(again.collect([incoming("events.session", event, 0)], T0 + 5))
    (passed,) = [r for r in released if r.topic == "commands.admitted"]
    assert dict(passed.headers)["traceparent"] == trace


def test_what_changes_nothing_commits_its_position_later(processor: LimiterProcessor) -> None:
    online(processor)
    batch = processor.collect([incoming("commands", as_json(command("c1")), 0)], T0)
    (own,) = [r for r in records(batch) if r.topic == "results"]
    back = incoming("results", own.value, 3, headers=own.headers)
    assert processor.collect([back], T0 + 10) == {}
    assert processor.collect([], T0 + 900) == {}
    late = processor.collect([], T0 + 1_010)
    assert (late[HOME].records, late[HOME].positions) == ([], {("results", HOME): 4})
    assert processor.collect([], T0 + 5_000) == {}


def test_unread_positions_go_along_with_the_next_work(processor: LimiterProcessor) -> None:
    online(processor)
    assert processor.collect([incoming("results", None, 0)], T0) == {}
    batch = processor.collect([incoming("commands", as_json(command("c1")), 0)], T0)
    assert batch[HOME].positions[("results", HOME)] == 1


def test_forwarded_before_anything_is_remembered(processor: LimiterProcessor) -> None:
    processor.owned(OTHER, {(topic, OTHER): 0 for topic in ("commands", "results", "events.session")})
    value = as_avro(command("c1"))
    record = incoming("commands", value, 9, OTHER, headers=(("traceparent", b"x"),))
    batch = processor.collect([record], T0)
    (out,) = records(batch, OTHER)
    assert (out.topic, out.key, out.value, out.partition) == ("commands", b"sales-1", value, HOME)
    assert out.headers == (("traceparent", b"x"), ("wharf_forwarded_from", f"{OTHER}/9".encode()))


def test_a_record_too_large_to_forward_is_refused(processor: LimiterProcessor) -> None:
    processor.owned(OTHER, {(topic, OTHER): 0 for topic in ("commands", "results", "events.session")})
    headers = (("bulk", b"x" * (1024 * 1024 - 50)),)
    batch = processor.collect([incoming("commands", as_json(command("c1")), 0, OTHER, headers=headers)], T0)
    (told,) = results(records(batch, OTHER))
    assert (told["state"], told["error"]["code"]) == ("rejected", "api.too_large")


def test_names_that_cannot_be_remembered_are_refused_with_a_result(processor: LimiterProcessor) -> None:
    batch = processor.collect([incoming("commands", as_json(command("x" * 300)), 0)], T0)
    (told,) = results(records(batch))
    assert (told["state"], told["final"], told["error"]["field"]) == ("rejected", True, "command_id")
    assert told["command_id"] == "x" * 128
    assert told["result_id"] == ids.result_id("sales-1", "x" * 300)
    assert [r for r in records(batch) if r.topic == "limits"] == []


@pytest.mark.parametrize("topic", ["commands", "results", "events.session"])
def test_rubbish_is_a_dead_letter_and_the_next_record_goes_on(processor: LimiterProcessor, topic: str) -> None:
    online(processor)
    batch = processor.collect([incoming(topic, b"\x00rubbish", 7), incoming("commands", as_json(command("c1")), 8)], T0)
    (letter,) = [CODEC.decode("deadletter", r.value) for r in records(batch) if r.topic == "deadletter"]
    assert (letter["origin_topic"], letter["offset"], letter["value"]) == (topic, 7, b"\x00rubbish")
    assert len(admitted(records(batch))) == 1


def test_a_record_without_value_on_commands_is_a_dead_letter(processor: LimiterProcessor) -> None:
    batch = processor.collect([incoming("commands", None, 0)], T0)
    assert [r.topic for r in records(batch)] == ["deadletter"]


def test_after_losing_a_partition_nothing_of_it_is_left(processor: LimiterProcessor, tmp_path: Path) -> None:
    processor.collect([incoming("commands", as_json(command("c1")), 0)], T0)
    assert list(tmp_path.rglob("*.sqlite"))
    processor.dropped(HOME)
    processor.lost(HOME)
    assert list(tmp_path.rglob("*.sqlite")) == []
    assert processor.collect([], T0) == {}
    # It comes back and starts from what was committed: nothing.
    processor.table(incoming("instances", instance(), 0))
    processor.owned(HOME, starts())
    batch = processor.collect([incoming("commands", as_json(command("c1")), 0)], T0)
    assert [r["state"] for r in results(records(batch))] == ["delayed"]


def test_an_unreadable_instance_keeps_what_was_known(processor: LimiterProcessor) -> None:
    online(processor)
    processor.table(incoming("instances", b"rubbish", 1))
    batch = processor.collect([incoming("commands", as_json(command("c1")), 0)], T0)
    assert len(admitted(records(batch))) == 1


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**62])
def test_odd_timestamps_forget_nothing(processor: LimiterProcessor, timestamp_ms: int) -> None:
    """Where the topic does not stamp its records, a producer's clock decides nothing about what is remembered."""
    online(processor)
    values = [as_json(command(name)) for name in ("odd", "c1", "odd", "c1")]
    times = [timestamp_ms, T0, timestamp_ms, T0]
    for offset, (value, at) in enumerate(zip(values, times, strict=True)):
        record = InRecord("commands", HOME, offset, at, b"sales-1", value)
        told = results(records(processor.collect([record], T0 + 500 * offset)))
        assert [r["state"] for r in told] == ["admitted"]
    assert processor.collect([], T0 + 60_000).get(HOME) is None


def test_limits_of_the_instance_are_followed(processor: LimiterProcessor) -> None:
    online(processor)
    processor.table(incoming("instances", instance(limits={"mode": "off", "overrides": {}}), 1))
    batch = processor.collect([incoming("commands", as_json(command(f"c{n}")), n) for n in range(3)], T0)
    assert [a["decision"]["interval_ms"] for a in admitted(records(batch))] == [0, 0, 0]
    limits = {"mode": "custom", "overrides": {"interval_ms": "50"}}
    processor.table(incoming("instances", instance(limits=limits), 2))
    batch = processor.collect([incoming("commands", as_json(command(f"d{n}")), 3 + n) for n in range(3)], T0)
    assert [a["decision"]["interval_ms"] for a in admitted(records(batch))] == [50]
    assert [r["until"] for r in results(records(batch)) if r["state"] == "delayed"] == [T0 + 50, T0 + 100]
