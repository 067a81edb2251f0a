"""The end of a partition of `wa.audit`, read once when the partition is taken over."""

from __future__ import annotations

from confluent_kafka import Message

from core.kafka.clients import KafkaClients
from core.kafka.table import read_to_end, watermarks

_TIMEOUT_S = 5.0
# Offsets, not records: each transaction leaves a marker between them.
OFFSETS = 5_000


class AuditTail:
    """Called with a partition; returns the values of its last answers, oldest first."""

    def __init__(self, clients: KafkaClients, topic: str, group: str) -> None:
        self._clients = clients
        self._topic = topic
        self._group = group

    def __call__(self, partition: int) -> list[bytes]:
        probe = self._clients.marks_reader(f"{self._group}.audit")
        try:
            low, high = watermarks(probe, self._topic, partition, _TIMEOUT_S)
        finally:
            probe.close()
        values: list[bytes] = []

        def keep(message: Message) -> None:
            value = message.value()
            if isinstance(value, bytes):
                values.append(value)

        start = max(low, high - OFFSETS)
        for _ in read_to_end(
            self._clients, f"{self._group}.audit", self._topic, {partition: start}, {partition: high}, keep
        ):
            pass
        return values
