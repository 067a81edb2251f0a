"""What the sink gives up, in the dead letters: acknowledged before its batch is done, so at least once.

The header `ce_id` is made of the record's place: a letter that is sent again after a crash has the same. The record's own
headers are not in it: they would be most of what waits in the sink, and they stand in the log at that place.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from core import ids
from core.clock import Clock
from core.errors import DBError, PoisonError
from core.kafka.clients import KafkaClients
from core.kafka.codec import Codec
from core.kafka.deadletter import dead_letter
from core.kafka.processor import InRecord

PROCESS = "sink"
_FLUSH_S = 30.0
_HEADERS = " (its headers are in the log only)"


class Letters:
    """The producer is made with the first letter: most sinks never write one."""

    def __init__(self, clients: KafkaClients, codec: Codec, clock: Clock) -> None:
        self._clients = clients
        self._codec = codec
        self._clock = clock
        self._producer: Producer | None = None

    def send(self, poison: Sequence[tuple[InRecord, PoisonError]]) -> None:
        """All acknowledged, or DBError."""
        if not poison:
            return
        if self._producer is None:
            self._producer = self._clients.producer()
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for record, cause in poison:
            letter = dead_letter(
                record,
                cause.code,
                cause.message + _HEADERS,
                cause.field,
                1,
                self._clock.now_ms(),
                encoder=self._codec,
                process=PROCESS,
            )
            letter_id = ids.dead_letter_id(record.topic, record.partition, record.offset, PROCESS)
            self._producer.produce(
                self._clients.settings.prefix + letter.topic,
                letter.value,
                letter.key,
                headers=[("ce_id", letter_id.encode())],
                on_delivery=delivered,
            )
        if self._producer.flush(_FLUSH_S) or failed:
            why = failed[0].str() if failed else f"no answer within {_FLUSH_S:.0f} s"
            raise DBError("db.kafka_unavailable", f"dead letters: {why}")

    def close(self) -> None:
        if self._producer is not None:
            self._producer.flush(0)
