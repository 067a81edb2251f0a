"""Reading partitions to their end: used at take-over, for compacted tables and by the registry.

The end is reached when Kafka reports it at or above the target offset: positions alone do not pass control records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.kafka.clients import KafkaClients

_BURST = 2000
_WAIT_S = 0.02


def watermarks(consumer: Consumer, topic: str, partition: int, timeout: float) -> tuple[int, int]:
    """(first offset, end): the end is the high watermark or the last stable offset by the consumer's isolation."""
    end = time.monotonic() + timeout
    while True:
        try:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), max(0.1, end - time.monotonic()), cached=False
            )
            return low, high
        except KafkaException as cause:
            # A topic that was just made has no leader for a moment; this call does not tell what may be repeated.
            if cause.args[0].fatal() or time.monotonic() >= end:
                raise
            consumer.poll(_WAIT_S)


def read_to_end(
    clients: KafkaClients,
    name: str,
    topic: str,
    starts: Mapping[int, int],
    targets: Mapping[int, int],
    deliver: Callable[[Message], None],
    wanted: Callable[[int], bool] = lambda _partition: True,
) -> Generator[None, None, None]:
    """Read committed records of the partitions up to their targets; a step ends after each burst.

    `deliver` gets records in order per partition. A partition no longer `wanted` is left where it is. `starts` must be
    real offsets.
    """
    todo = {partition for partition, start in starts.items() if start < targets[partition]}
    if not todo:
        return
    reader = clients.reader(name)
    try:
        reader.assign([TopicPartition(topic, partition, starts[partition]) for partition in todo])
        while todo := {partition for partition in todo if wanted(partition)}:
            for message in burst(reader):
                fault = message.error()
                partition = message.partition()
                if fault is None:
                    if partition in todo:
                        deliver(message)
                elif fault.code() == KafkaError._PARTITION_EOF:
                    if partition is not None and (message.offset() or 0) >= targets[partition]:
                        todo.discard(partition)
                elif fault.fatal() or fault.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise KafkaException(fault)
            yield
    finally:
        reader.close()


def burst(reader: Consumer, wait_s: float = _WAIT_S) -> list[Message]:
    """What is there, after waiting for a first record."""
    # consume(n, t) would wait for n records: poll first, then take the rest.
    first = reader.poll(wait_s)
    return [] if first is None else [first, *reader.consume(_BURST, 0)]


class Table:
    """A compacted topic held in memory by whoever needs all of it (registry, command line): newest value per key."""

    def __init__(self, clients: KafkaClients, topic: str, name: str) -> None:
        self._clients = clients
        self._topic = topic
        self._name = name
        self.values: dict[bytes, bytes] = {}

    def _apply(self, message: Message) -> None:
        key, value = message.key(), message.value()
        if not isinstance(key, bytes):
            return
        if isinstance(value, bytes):
            self.values[key] = value
        else:
            self.values.pop(key, None)

    def load(self, timeout: float = 10.0) -> dict[bytes, bytes]:
        """Read everything there is at this moment."""
        probe = self._clients.marks_reader(f"{self._name}.table")
        try:
            metadata = probe.list_topics(self._topic, timeout).topics[self._topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            ends = {partition: watermarks(probe, self._topic, partition, timeout) for partition in metadata.partitions}
        finally:
            probe.close()
        starts = {partition: low for partition, (low, _high) in ends.items()}
        targets = {partition: high for partition, (_low, high) in ends.items()}
        self.values.clear()
        for _ in read_to_end(self._clients, self._name, self._topic, starts, targets, self._apply):
            pass
        return self.values
