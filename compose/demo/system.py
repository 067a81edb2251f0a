"""wharf as its users have it: produce control requests and commands, read topics. Nothing here reaches inside."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from core.kafka.clients import KafkaClients
from core.settings import Settings
from schemas.codec import open_codec

CALL_SECONDS = 10.0
_BURST = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """A committed record and when it was seen."""

    topic: str
    record: dict[str, Any]
    at: float


class System:
    """`settings` are those of the running stack. Not thread-safe; `Follower`s are made per thread."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._prefix = settings.kafka.prefix
        self._clients = KafkaClients(settings.kafka, name)
        self._codec = open_codec(settings)
        self._producer = self._clients.producer()
        self._name = name

    def request(self, kind: str, instance_id: str, **body: Any) -> str:
        """A control request; `wa.audit` answers it by its id."""
        request_id = str(uuid.uuid4())
        record = {
            "request_id": request_id,
            "kind": kind,
            "instance_id": instance_id,
            "body": body or None,
            "requested_by": self._name,
            "requested_at": time.time_ns() // 1_000_000,
        }
        self._produce("control", instance_id, record)
        return request_id

    def command(self, instance_id: str, kind: str, command_id: str | None = None, **fields: Any) -> str:
        """A command; its results carry its id."""
        command_id = command_id or str(uuid.uuid4())
        record = {"command_id": command_id, "instance_id": instance_id, "type": kind, **fields}
        self._produce("commands", instance_id, record)
        return command_id

    def send_text(self, instance_id: str, to: str, text: str, command_id: str | None = None, **fields: Any) -> str:
        content = {"type": "text", "text": text}
        return self.command(instance_id, "send", command_id, to=to, content=content, **fields)

    def flush(self) -> None:
        left = self._producer.flush(CALL_SECONDS)
        if left:
            raise TimeoutError(f"{left} records were not acknowledged by Kafka within {CALL_SECONDS:.0f} s")

    def follow(self, *topics: str, from_beginning: bool = False) -> Follower:
        return Follower(self._clients, self._codec, self._prefix, topics, self._name, from_beginning=from_beginning)

    def _produce(self, topic: str, instance_id: str, record: dict[str, Any]) -> None:
        value = self._codec.encode(topic, record)
        self._producer.produce(f"{self._prefix}{topic}", value=value, key=instance_id.encode())
        self._producer.poll(0)


class Follower:
    """Committed records of whole topics, from their present end or from their beginning."""

    def __init__(
        self,
        clients: KafkaClients,
        codec: Any,
        prefix: str,
        topics: tuple[str, ...],
        name: str,
        *,
        from_beginning: bool,
    ) -> None:
        self._codec = codec
        self._names = {f"{prefix}{topic}": topic for topic in topics}
        self._consumer = clients.reader(name)
        known = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        positions = []
        for topic in self._names:
            for partition in known[topic].partitions if topic in known else ():
                at = TopicPartition(topic, partition)
                low, high = self._consumer.get_watermark_offsets(at, CALL_SECONDS, cached=False)
                positions.append(TopicPartition(topic, partition, low if from_beginning else high))
        self._consumer.assign(positions)

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def poll(self, seconds: float) -> list[Seen]:
        """What has come, after waiting for the first at most so long."""
        first = self._consumer.poll(seconds)
        messages = [] if first is None else [first, *self._consumer.consume(_BURST, 0)]
        out = []
        for message in messages:
            fault = message.error()
            if fault is None:
                topic = self._names[message.topic() or ""]
                out.append(Seen(topic, self._codec.decode(topic, message.value()), time.monotonic()))
            elif fault.code() != KafkaError._PARTITION_EOF and not fault.retriable():
                raise KafkaException(fault)
        return out
