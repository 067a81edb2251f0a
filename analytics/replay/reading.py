"""Records of the parts, in order per partition: a reader of its own, in no group, that commits nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaError, Message, TopicPartition

from analytics.replay.scope import Part
from core.errors import DBError
from core.kafka.clients import KafkaClients
from core.kafka.fetch import in_record
from core.kafka.processor import InRecord
from core.kafka.table import burst

_SILENCE_S = 60.0
_WAIT_S = 0.1


def read(clients: KafkaClients, parts: Sequence[Part]) -> Iterator[list[InRecord]]:
    """Committed records, burst by burst. DBError where Kafka is silent or the log was cut behind the part's beginning."""
    prefix = clients.settings.prefix
    todo = {(prefix + one.topic, one.partition): one for one in parts if one.offsets}
    if not todo:
        return
    reader = clients.reader("wharf.replay")
    try:
        reader.incremental_assign([TopicPartition(topic, number, todo[topic, number].first) for topic, number in todo])
        silent = 0.0
        while todo:
            asked = time.monotonic()
            messages = burst(reader, _WAIT_S)
            silent = 0.0 if messages else silent + time.monotonic() - asked
            if silent > _SILENCE_S:
                text = f"nothing came from {clients.settings.bootstrap} for {_SILENCE_S:.0f} s"
                raise DBError("db.kafka_unavailable", text)
            records: list[InRecord] = []
            for message in messages:
                where = (str(message.topic()), int(message.partition() or 0))
                wanted = todo.get(where)
                # Others were fetched before their partition was left.
                if wanted is None:
                    continue
                passed = _passed(message)
                if message.error() is None and passed <= wanted.last:
                    records.append(in_record(message, wanted.topic))
                if passed >= wanted.last:
                    del todo[where]
                    reader.incremental_unassign([TopicPartition(*where)])
            yield records
    finally:
        reader.close()


def _passed(message: Message) -> int:
    """Below which offset everything was read."""
    fault = message.error()
    offset = int(message.offset() or 0)
    if fault is None:
        return offset + 1
    if fault.code() == KafkaError._PARTITION_EOF:
        return offset
    if fault.fatal() or fault.code() == KafkaError._AUTO_OFFSET_RESET:
        raise DBError("db.kafka_unavailable", f"{message.topic()}[{message.partition()}]: {fault.str()}")
    return 0
