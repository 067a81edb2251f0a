"""Bad input on the whole system (invariants 7 and 9), one promise per test, all of them on one partition.

Each decodable command ends in exactly one final result, everything else in exactly one dead letter, both with code and
field. After each of them a good command on the same partition is sent, by the very same session.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaException, Message, Producer

from compose.demo.phones import Phones
from core import ids
from core.kafka.sizes import FRAMING_BYTES
from core.topics import MAX_RECORD_BYTES
from schemas.codec import open_codec
from tests.support.stack import PAIR_SECONDS, LiveStack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
SECONDS = 60
Record = dict[str, Any]


@dataclass
class Here:
    """One online instance, a producer of any bytes, and everything that was told since."""

    stack: LiveStack
    instance: str
    contact: str
    partition: int
    epoch: int = 0
    count: int = 0
    results: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    bad_offsets: list[tuple[int, int]] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.follower = self.stack.system.follow("results", "deadletter", "events.message")
        self.codec = open_codec(self.stack.settings)
        self.producer = Producer(
            {
                "bootstrap.servers": self.stack.settings.kafka.bootstrap,
                "linger.ms": 0,
                "message.max.bytes": 64 << 20,
                "compression.type": "gzip",
            }
        )
        self.plain = Producer(
            {"bootstrap.servers": self.stack.settings.kafka.bootstrap, "linger.ms": 0, "message.max.bytes": 64 << 20}
        )

    # ------------------------------------------------------------------ in

    def command(self, **fields: Any) -> Record:
        """A good `send` but for the given fields."""
        self.count += 1
        content = {"type": "text", "text": f"text {self.count}"}
        return {
            "command_id": f"bad-{self.instance}-{self.count}",
            "instance_id": self.instance,
            "type": "send",
            "to": f"+{self.contact}",
            "content": content,
            **fields,
        }

    def put(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        compressed: bool = False,
    ) -> tuple[int, int]:
        """Partition and offset of what now stands in `commands`; KafkaException when Kafka refuses it."""
        done: list[tuple[Any, Message]] = []
        producer = self.producer if compressed else self.plain
        producer.produce(
            f"{self.stack.settings.kafka.prefix}commands",
            value=value,
            key=self.instance.encode() if key is None else key,
            partition=self.partition if partition is None else partition,
            headers=list[tuple[str, str | bytes | None]](headers),
            on_delivery=lambda error, message: done.append((error, message)),
        )
        producer.flush(SECONDS)
        [(error, message)] = done
        if error is not None:
            raise KafkaException(error)
        where, offset = message.partition(), message.offset()
        assert where is not None
        assert offset is not None
        return where, offset

    def put_command(self, record: Record, **how: Any) -> tuple[str, str]:
        """As JSON."""
        self.put(json.dumps(record).encode(), **how)
        return self.produced(record)

    def put_avro(self, record: Record, **how: Any) -> tuple[str, str]:
        self.put(self.codec.encode("commands", record), **how)
        return self.produced(record)

    def produced(self, record: Record) -> tuple[str, str]:
        key = (record["instance_id"], record["command_id"])
        if key not in self.commands:
            self.commands.append(key)
        return key

    # ------------------------------------------------------------------ out

    def look(self) -> None:
        for seen in self.follower.poll(0.2):
            {"results": self.results, "deadletter": self.letters, "events.message": self.events}[seen.topic].append(
                seen.record
            )

    def all_events(self) -> list[Record]:
        self.look()
        return self.events

    def all_results(self) -> list[Record]:
        self.look()
        return self.results

    def all_letters(self) -> list[Record]:
        self.look()
        return self.letters

    def finals(self, key: tuple[str, str]) -> list[Record]:
        self.look()
        return [r for r in self.results if (r["instance_id"], r["command_id"]) == key and r["final"]]

    def finals_if(self, key: tuple[str, str], count: int) -> list[Record]:
        """None unless there are so many."""
        found = self.finals(key)
        return found if len(found) == count else []

    def letters_of(self, where: tuple[int, int]) -> list[Record]:
        self.look()
        return [
            letter
            for letter in self.letters
            if letter["origin_topic"].endswith("commands") and (letter["partition"], letter["offset"]) == where
        ]

    def goes_on(self) -> None:
        """A good command after it is sent, by the session that was there before."""
        key = self.put_command(self.command())
        [final] = wait_until(lambda: self.finals(key), SECONDS, "a good command afterwards")
        assert (final["state"], final["error"]) == ("sent", None)
        [event] = wait_until(
            lambda: [e for e in self.all_events() if e["key"]["id"] == final["message_id"]],
            SECONDS,
            "its event",
        )
        epoch = event["envelope"]["session_epoch"]
        assert self.epoch in (0, epoch), "the session was torn down"
        self.epoch = epoch

    def ends(self, key: tuple[str, str], state: str, code: str | None = None, field: str | None = None) -> Record:
        """The one final result of a command; a good one after it goes on."""
        wait_until(lambda: self.finals(key), SECONDS, f"the final result of {key}")
        self.goes_on()
        [final] = self.finals(key)
        problem = final["error"] or {"code": None, "field": None}
        assert (final["state"], problem["code"], problem["field"]) == (state, code, field)
        return final

    def is_buried(self, where: tuple[int, int], code: str, field: str | None = None) -> Record:
        """The one dead letter of a record; a good command after it goes on."""
        self.bad_offsets.append(where)
        wait_until(lambda: self.letters_of(where), SECONDS, f"the dead letter of {where}")
        self.goes_on()
        [letter] = self.letters_of(where)
        assert (letter["code"], letter["field"], letter["process"]) == (code, field, "limiter")
        assert letter["message"]
        return letter

    def received(self) -> list[str]:
        return [r["text"] for r in self.stack.simulator.ledger()["received"] if r["recipient"] == self.contact]

    def neighbour(self, name: str) -> str:
        """An instance id that nobody has, on the same partition."""
        count = self.stack.settings.kafka.partitions
        return next(
            candidate for n in range(1_000) if ids.partition_for(candidate := f"{name}-{n}", count) == self.partition
        )


@pytest.fixture(scope="module")
def here(stack: LiveStack) -> Iterator[Here]:
    instance = stack.add_instances(1).ids[0]
    partition = ids.partition_for(instance, stack.settings.kafka.partitions)
    made = Here(stack, instance, stack.add_contact(), partition)
    made.goes_on()
    yield made
    made.follower.__exit__(None, None, None)


# ---------------------------------------------------------------------------------------------- cannot be decoded


def test_malformed_avro_is_one_dead_letter_with_all_its_bytes(here: Here) -> None:
    good = here.codec.encode("commands", here.command())
    for value in (good[:-3], good + b"\x00", good[:5] + b"\xff" * 40, good[:4], b"\x01" + good[1:], b"hello", b""):
        where = here.put(value, headers=[("traceparent", b"x"), ("nothing", None)])
        letter = here.is_buried(where, "api.validation")
        assert (letter["value"], letter["key"]) == (value, here.instance.encode())
        assert letter["attempts"] == 1
        assert letter["origin_topic"].endswith("commands")


def test_malformed_json_is_one_dead_letter(here: Here) -> None:
    for text in (b"{", b'{"command_id": ', b"{]", b'{"command_id": "\xff"}', b"{" * 100_000, b'{"a":' * 5_000):
        assert here.is_buried(here.put(text), "api.validation")["value"] == text


def test_json_that_is_no_command_names_its_field(here: Here) -> None:
    for change, named in (
        ({"type": "fly"}, "type"),
        ({"command_id": 7}, "command_id"),
        ({"tO": "+49151"}, "tO"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 2**70}, "expires_at"),
        ({"content": {"type": "text", "text": 7}}, "content.text"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"lane": ["auto"]}, "lane"),
    ):
        where = here.put(json.dumps(here.command(**change)).encode())
        here.is_buried(where, "api.validation", named)
    missing = here.command()
    del missing["instance_id"]
    here.is_buried(here.put(json.dumps(missing).encode()), "api.validation", "instance_id")


def test_an_unknown_schema_id_is_one_dead_letter(here: Here) -> None:
    good = here.codec.encode("commands", here.command())
    for schema_id in (999_999, 0, 2**32 - 1):
        here.is_buried(here.put(struct.pack(">bI", 0, schema_id) + good[5:]), "api.unknown_schema")


def test_the_schema_of_another_record_is_one_dead_letter(here: Here) -> None:
    result_id = struct.unpack_from(">I", here.codec.encode("pairing", _pairing(here.instance)), 1)[0]
    good = here.codec.encode("commands", here.command())
    here.is_buried(here.put(struct.pack(">bI", 0, result_id) + good[5:]), "api.validation")


def test_a_record_without_a_value_or_with_a_strange_key_is_one_dead_letter(here: Here) -> None:
    here.is_buried(here.put(None), "api.validation")
    here.is_buried(here.put(None, key=b""), "api.validation")
    here.is_buried(here.put(b"x", key=b"\xff\xfe\x00" * 100), "api.validation")


def test_what_is_too_large_to_be_kept_is_named_by_its_hash(here: Here) -> None:
    """A compressed record may be much larger than the topic's limit."""
    value = b"\x01" + bytes(5 << 20)
    letter = here.is_buried(here.put(value, compressed=True), "api.validation")
    assert letter["value"] is None
    assert "sha256" in letter["message"]
    headers = [("h", bytes(2 << 20))]
    letter = here.is_buried(here.put(b"x", compressed=True, headers=headers), "api.validation")
    assert "headers" in letter["message"]
    letter = here.is_buried(here.put(b"x", compressed=True, key=b"k" * (2 << 20)), "api.validation")
    assert "key" in letter["message"]


def test_a_field_name_of_a_megabyte_is_one_dead_letter(here: Here) -> None:
    name = "n" * (MAX_RECORD_BYTES - 1_000)
    where = here.put(json.dumps(here.command(**{name: 1})).encode())
    here.bad_offsets.append(where)
    [letter] = wait_until(lambda: here.letters_of(where), SECONDS, "its dead letter")
    assert letter["code"] == "api.validation"
    assert name.startswith(letter["field"].removesuffix("…"))
    where = here.put(json.dumps(here.command(metadata={name[:-2_000]: 1})).encode())
    here.bad_offsets.append(where)
    [letter] = wait_until(lambda: here.letters_of(where), SECONDS, "its dead letter")
    assert letter["field"].startswith("metadata.n")
    here.goes_on()


# ---------------------------------------------------------------------------------------------- can be decoded


def test_an_unknown_instance_is_rejected_once_it_could_have_come(here: Here) -> None:
    nobody = here.neighbour("nobody")
    key = here.put_avro(here.command(instance_id=nobody), key=nobody.encode())
    wait_until(
        lambda: [r for r in here.all_results() if r["command_id"] == key[1] and r["state"] == "delayed"],
        SECONDS,
        "it waits for the instance",
    )
    here.goes_on()
    here.ends(key, "rejected", "api.not_found", "instance_id")


def test_a_name_that_can_be_no_instance_is_rejected(here: Here) -> None:
    for name in ("", "Sales 1", "_x", "a" * 64, "\u0000", "a" * 200):
        record = here.command(instance_id=name)
        here.put(json.dumps(record).encode())
        key = here.produced({**record, "instance_id": name[:128]})
        here.ends(key, "rejected", "api.validation", "instance_id")


def test_a_command_id_that_cannot_be_remembered_is_rejected(here: Here) -> None:
    for name in ("", "\n", "c" * 129):
        record = here.command(command_id=name)
        here.put(json.dumps(record).encode())
        key = here.produced({**record, "command_id": name[:128]})
        here.ends(key, "rejected", "api.validation", "command_id")


def test_a_command_sent_at_once_with_its_instance_is_sent(here: Here) -> None:
    added = here.neighbour("added")
    first = here.put_avro(
        here.command(instance_id=added, content={"type": "text", "text": "first"}), key=added.encode()
    )
    owners = Phones(here.stack.system, here.stack.simulator, {added: "491539999999"})
    second = here.put_avro(
        here.command(instance_id=added, content={"type": "text", "text": "second"}), key=added.encode()
    )
    try:
        deadline = time.monotonic() + PAIR_SECONDS
        while owners.unpaired:
            assert time.monotonic() < deadline, "not paired"
            owners.step()
    finally:
        owners.close()
    assert here.ends(first, "sent")["message_id"]
    here.ends(second, "sent")
    wait_until(lambda: {"first", "second"} <= set(here.received()), SECONDS, "both arrive")
    assert [text for text in here.received() if text in ("first", "second")] == ["first", "second"]


def test_an_unsupported_type_is_rejected(here: Here) -> None:
    for kind in ("unknown", "vote", "group", "contact"):
        here.ends(here.put_avro(here.command(type=kind)), "rejected", "api.validation", "type")


@pytest.mark.parametrize(
    "to", ["hello", "", None, "+", "@", "12@nowhere", "0151234", "+1 2", "491511\u0661\u0662@s.whatsapp.net", "9" * 200]
)
def test_an_unparsable_recipient_is_rejected(here: Here, to: str | None) -> None:
    here.ends(here.put_command(here.command(to=to)), "rejected", "api.validation", "to")


def test_an_empty_text_is_rejected(here: Here) -> None:
    for text in ("", None):
        content = {"type": "text", "text": text}
        here.ends(here.put_avro(here.command(content=content)), "rejected", "api.validation", "content.text")


def test_a_text_of_70_kb_is_rejected(here: Here) -> None:
    content = {"type": "text", "text": "x" * 70_000}
    here.ends(here.put_avro(here.command(content=content)), "rejected", "api.validation", "content.text")


def test_the_longest_text_is_sent(here: Here) -> None:
    content = {"type": "text", "text": "ü" * 65_536}
    here.ends(here.put_avro(here.command(content=content)), "sent")
    wait_until(lambda: content["text"] in here.received(), SECONDS, "it arrives whole")


def test_an_expired_command_expires_at_once(here: Here) -> None:
    now = time.time_ns() // 1_000_000
    for at in (0, now - 1, now - 86_400_000):
        here.ends(here.put_avro(here.command(expires_at=at)), "expired", "api.expired", "expires_at")
    here.ends(here.put_avro(here.command(expires_at=-1)), "rejected", "api.validation", "expires_at")


def test_a_duplicate_id_is_one_message_and_one_result(here: Here) -> None:
    record = here.command()
    key = here.put_avro(record)
    wait_until(lambda: here.finals(key), SECONDS, "its final result")
    here.put_command(record)
    here.put_avro(record)
    here.goes_on()
    told = wait_until(lambda: here.finals_if(key, 3), SECONDS, "the stored result again, twice")
    assert len({r["result_id"] for r in told}) == 1
    assert told[0] == told[1] == told[2]
    assert here.received().count(record["content"]["text"]) == 1


def test_duplicates_in_one_batch_are_one_message(here: Here) -> None:
    record = here.command()
    for _ in range(20):
        here.put_avro(record)
    here.goes_on()
    key = (record["instance_id"], record["command_id"])
    finals = wait_until(lambda: here.finals(key), SECONDS, "its final result")
    assert {(r["result_id"], r["state"]) for r in finals} == {(ids.result_id(*key), "sent")}
    assert here.received().count(record["content"]["text"]) == 1


def test_a_duplicate_id_with_another_body_is_refused_and_the_first_is_not_touched(here: Here) -> None:
    record = here.command()
    key = here.put_avro(record)
    wait_until(lambda: here.finals(key), SECONDS, "its final result")
    other = {**record, "content": {"type": "text", "text": "another body"}}
    here.put_command(other)
    here.goes_on()
    first, second = wait_until(lambda: here.finals_if(key, 2), SECONDS, "the refusal")
    assert (first["state"], first["result_id"]) == ("sent", ids.result_id(*key))
    problem = second["error"]
    assert (second["state"], problem["code"], problem["field"]) == (
        "rejected",
        "api.idempotency_mismatch",
        "command_id",
    )
    assert second["result_id"] != first["result_id"]
    assert "another body" not in here.received()
    here.put_command(record)
    here.goes_on()
    third = wait_until(lambda: here.finals_if(key, 3), SECONDS, "the first one's result")[2]
    assert third == first


# ---------------------------------------------------------------------------------------------- limits


def padded(here: Here, record: Record, size: int) -> bytes:
    """The command as JSON in a record of that size: key, value and headers."""
    text = json.dumps(record).encode()
    return text + b" " * (size - len(here.instance.encode()) - len(text))


def test_a_command_of_a_mebibyte_is_sent(here: Here) -> None:
    record = here.command()
    here.put(padded(here, record, MAX_RECORD_BYTES))
    here.ends(here.produced(record), "sent")


def test_a_command_over_a_mebibyte_is_rejected(here: Here) -> None:
    for size in (MAX_RECORD_BYTES + 1, MAX_RECORD_BYTES + FRAMING_BYTES - 500):
        record = here.command()
        here.put(padded(here, record, size))
        here.ends(here.produced(record), "rejected", "api.too_large")


def test_a_command_far_over_a_mebibyte_is_refused_by_kafka(here: Here) -> None:
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        here.put(padded(here, here.command(), MAX_RECORD_BYTES + FRAMING_BYTES + 1))
    here.goes_on()


def test_a_compressed_command_of_many_mebibytes_is_rejected(here: Here) -> None:
    record = here.command()
    here.put(padded(here, record, 8 << 20), compressed=True)
    here.ends(here.produced(record), "rejected", "api.too_large")
    record = here.command()
    here.put(padded(here, record, 2 << 20), compressed=True, partition=(here.partition + 1) % 8)
    here.ends(here.produced(record), "rejected", "api.too_large")


def test_a_large_command_that_is_held_goes_through(here: Here) -> None:
    """What waits is an item of the limiter's state, then one of the session's: both carry it whole."""
    record = here.command(not_before=time.time_ns() // 1_000_000 + 1_500)
    here.put(padded(here, record, MAX_RECORD_BYTES))
    here.ends(here.produced(record), "sent")


def test_large_contents_are_one_final_result(here: Here) -> None:
    preview = {"url": "https://example.org", "title": "t", "thumbnail": bytes(900_000)}
    record = here.command(content={"type": "text", "text": "https://example.org", "preview": preview})
    key = here.put_avro(record)
    [final] = wait_until(lambda: here.finals(key), SECONDS, "its final result")
    assert final["state"] in ("sent", "rejected", "failed")
    here.goes_on()
    too_much = here.command(metadata={"m": "x" * 17_000})
    here.ends(here.put_avro(too_much), "rejected", "api.validation", "metadata")


def test_a_command_on_the_wrong_partition_is_sent_once(here: Here) -> None:
    count = here.stack.settings.kafka.partitions
    wrong = [n for n in range(count) if n != here.partition]
    records = []
    for partition in wrong:
        record = here.command()
        here.put_avro(record, partition=partition)
        records.append(record)
    for record in records:
        here.ends(here.produced(record), "sent")
        assert here.received().count(record["content"]["text"]) == 1


def test_a_command_under_another_key_is_sent_once(here: Here) -> None:
    for key in (b"somebody-else", b"", b"\xff"):
        record = here.command()
        here.put_avro(record, key=key)
        here.ends(here.produced(record), "sent")
        assert here.received().count(record["content"]["text"]) == 1


def test_garbage_where_only_the_limiter_writes_does_not_stop_the_connector(here: Here) -> None:
    producer = Producer({"bootstrap.servers": here.stack.settings.kafka.bootstrap})
    topic = f"{here.stack.settings.kafka.prefix}commands.admitted"
    before = len(here.letters)
    for key, value in ((b"\xff\xfe", b"x"), (here.instance.encode(), b"\x00garbage"), (None, None)):
        producer.produce(topic, key=key, value=value, partition=here.partition)
    producer.flush(SECONDS)
    wait_until(
        lambda: len([x for x in here.all_letters()[before:] if x["process"] == "connector"]) == 3,
        SECONDS,
        "three dead letters of the connector",
    )
    here.goes_on()


# ---------------------------------------------------------------------------------------------- all together


def test_all_of_it_stands_in_the_log_exactly_once(here: Here) -> None:
    """An independent read_committed dump, after everything above."""
    finals: dict[tuple[str, str], set[str]] = {}
    mismatches = 0
    for record in here.stack.dump.records("results"):
        if record["final"]:
            if record["error"] and record["error"]["code"] == "api.idempotency_mismatch":
                mismatches += record["instance_id"] == here.instance
                continue
            finals.setdefault((record["instance_id"], record["command_id"]), set()).add(record["result_id"])
    assert {key: len(finals.get(key, ())) for key in here.commands} == dict.fromkeys(here.commands, 1)
    assert mismatches <= 1
    letters = [
        (x["partition"], x["offset"]) for x in here.stack.dump.records("deadletter") if x["process"] == "limiter"
    ]
    assert {where: letters.count(where) for where in here.bad_offsets} == dict.fromkeys(here.bad_offsets, 1)


def _pairing(instance: str) -> Record:
    return {
        "envelope": {
            "event_id": "e",
            "instance_id": instance,
            "generation": 1,
            "occurred_at": 0,
            "received_at": 0,
            "origin": "live",
        }
    }
