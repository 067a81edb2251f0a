"""The bare loop: the very bytes a run has written, produced again by nothing but a transactional producer.

It is the floor for anything that writes this to Kafka from Python: no decisions, no Avro, no encryption, no session.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka.cimpl import NewTopic

from core.kafka.clients import KafkaClients
from core.kafka.dump import Time, dump
from core.kafka.processor import InRecord

TOPIC = "wharf-bench-bare"
_CALL_S = 30.0
# Never more than librdkafka queues.
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Bare:
    cpu_s: float
    seconds: float
    records: int


def written_since(clients: KafkaClients, topics: Sequence[str], epoch_ms: int) -> list[InRecord]:
    """What the measured processes committed to these topics since then."""
    found = []
    for record in dump(clients, topics, start=Time(epoch_ms)):
        found.append(record)
        if len(found) >= _MOST:
            break
    return found


def produce(clients: KafkaClients, records: Sequence[InRecord], per_transaction: int) -> Bare:
    """Begin, produce, flush, commit until all are written; the processor time is that of this process, all threads."""
    _create(clients)
    producer = clients.transactional_producer("wharf-bench-bare")
    producer.init_transactions(_CALL_S)
    cpu, wall = time.process_time(), time.monotonic()
    for at in range(0, len(records), per_transaction):
        producer.begin_transaction()
        for record in records[at : at + per_transaction]:
            producer.produce(
                TOPIC, value=record.value, key=record.key, headers=list(record.headers), partition=record.partition
            )
        producer.flush(_CALL_S)
        producer.commit_transaction(_CALL_S)
    return Bare(time.process_time() - cpu, time.monotonic() - wall, len(records))


def _create(clients: KafkaClients) -> None:
    admin = clients.admin()
    if TOPIC in admin.list_topics(timeout=_CALL_S).topics:
        return
    for future in admin.create_topics([NewTopic(TOPIC, clients.settings.partitions, 1)]).values():
        future.result(_CALL_S)
    while TOPIC not in admin.list_topics(timeout=_CALL_S).topics:
        time.sleep(0.05)
