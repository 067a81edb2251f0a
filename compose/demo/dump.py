"""What the log and the ledgers really hold, read independently of wharf's own code, as an observation for the oracle.

The log: a plain read_committed consumer over whole topics, values decoded with the very schema that wrote them, fetched
from the registry by its id. The ledgers: the simulator's.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
import httpx
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from compose.demo.simulator import Simulator
from core.oracle import Final, Key, Observation
from core.settings import Settings

CALL_SECONDS = 10.0
TEXT = "message.new"


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and where it stands."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    record: dict[str, Any]

    @property
    def at(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Dump:
    """Committed records of topics, from their beginning to their end as it is when asked."""

    def __init__(self, settings: Settings) -> None:
        if settings.kafka.security_protocol != "PLAINTEXT":
            raise ValueError("the dump reads local stacks only")
        self._bootstrap = settings.kafka.bootstrap
        self._prefix = settings.kafka.prefix
        self._registry = settings.registry.url
        self._schemas: dict[int, Any] = {}

    def records(self, topic: str) -> Iterator[dict[str, Any]]:
        for entry in self.entries(topic):
            yield entry.record

    def entries(self, topic: str) -> Iterator[Entry]:
        """In the order of the log within each partition; what is deleted by a tombstone is left out."""
        for message in self._messages(f"{self._prefix}{topic}"):
            value = message.value()
            if value is not None:
                at = message.timestamp()[1]
                yield Entry(topic, message.partition(), message.offset(), at, self._decode(value))

    def _messages(self, topic: str) -> Iterator[Any]:
        consumer: Any = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "wharf-dump",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
            }
        )
        try:
            partitions = consumer.list_topics(topic, CALL_SECONDS).topics[topic].partitions
            left = set(partitions)
            starts = {number: consumer.get_watermark_offsets(TopicPartition(topic, number))[0] for number in partitions}
            consumer.assign([TopicPartition(topic, number, start) for number, start in starts.items()])
            while left:
                message = consumer.poll(CALL_SECONDS)
                if message is None:
                    raise TimeoutError(f"{topic}: no end of partitions {sorted(left)} within {CALL_SECONDS:.0f} s")
                fault = message.error()
                if fault is None:
                    yield message
                elif fault.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(fault)
        finally:
            consumer.close()

    def _decode(self, value: bytes) -> dict[str, Any]:
        magic, schema_id = struct.unpack_from(">bI", value)
        if magic != 0:
            raise ValueError(f"not in Confluent's wire format: {value[:8].hex()}")
        if schema_id not in self._schemas:
            answer = httpx.get(f"{self._registry}/schemas/ids/{schema_id}", timeout=CALL_SECONDS)
            answer.raise_for_status()
            self._schemas[schema_id] = fastavro.parse_schema(json.loads(answer.json()["schema"]))
        record = fastavro.schemaless_reader(io.BytesIO(value[5:]), self._schemas[schema_id], None)
        if not isinstance(record, dict):
            raise TypeError(f"a record was expected, not {type(record).__name__}")
        return record


def observe(dump: Dump, simulator: Simulator, phones: dict[str, str], commands: list[Key]) -> Observation:
    """`phones`: number of each instance's phone → instance id, of those looked at; `commands`: what was produced."""
    ledger = simulator.ledger(dedupe=False)
    ours = set(phones.values())
    events = [event for event in dump.records("events.message") if event["envelope"]["instance_id"] in ours]
    finals = [record for record in dump.records("results") if record["final"] and record["instance_id"] in ours]
    return Observation(
        accepted=[(phones[to], row["id"]) for row in ledger["sent"] if (to := number(row["to"])) in phones],
        events_in=_messages(events, "in"),
        commands=commands,
        finals=[final(record) for record in finals if record["type"] == "send"],
        received=[(phones[who], row["id"]) for row in ledger["received"] if (who := number(row["sender"])) in phones],
        events_out=_messages(events, "out"),
    )


def number(address: str) -> str:
    """The phone number of an address: `4915…:3@s.whatsapp.net` and `+4915…` are both `4915…`."""
    return address.removeprefix("+").partition("@")[0].partition(":")[0].partition(".")[0]


def _messages(events: list[dict[str, Any]], direction: str) -> list[Key]:
    return [
        (event["envelope"]["instance_id"], event["key"]["id"])
        for event in events
        if event["direction"] == direction and event["kind"] == TEXT
    ]


def final(record: dict[str, Any]) -> Final:
    return Final(
        record["instance_id"], record["command_id"], record["result_id"], record["state"], record["message_id"]
    )
