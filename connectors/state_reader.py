"""Reads the committed state of single instances again from wa.sessions: to rebuild, to archive or to delete it.

The connector keeps no copy of what the host holds, so this is where it comes from. All instances of a partition that
wait are served by one pass over it, up to the high watermark of the moment the pass begins: whatever was committed
before the request is in it. Runs in a thread of its own; failures are tried again until `stop`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from connectors.state_items import split_key
from core.kafka.clients import KafkaClients
from core.telemetry.logs import get_logger

_TIMEOUT_S = 10.0
_AGAIN_S = 0.5
_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """The sealed records of one instance, data key included, newest of each key, tombstones left out."""

    partition: int
    instance_id: str
    records: Sequence[tuple[bytes, bytes]]


class StateReader:
    def __init__(self, clients: KafkaClients, topic: str, on_loaded: Callable[[], None]) -> None:
        self._clients = clients
        self._topic = topic
        self._on_loaded = on_loaded
        self._wanted: dict[int, set[str]] = {}
        self._loaded: list[Loaded] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="state-reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def request(self, partition: int, instance_id: str) -> None:
        with self._changed:
            self._wanted.setdefault(partition, set()).add(instance_id)
            self._changed.notify()

    def take(self) -> list[Loaded]:
        with self._changed:
            taken, self._loaded = self._loaded, []
        return taken

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._wanted and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                partition, instances = self._wanted.popitem()
            try:
                loaded = self._read(partition, instances)
            except KafkaException as trouble:
                get_logger(__name__).warning("state_read_failed", partition=partition, error=trouble)
                with self._changed:
                    self._wanted.setdefault(partition, set()).update(instances)
                    self._changed.wait(_AGAIN_S)
                continue
            with self._changed:
                self._loaded += loaded
            self._on_loaded()

    def _read(self, partition: int, instances: set[str]) -> list[Loaded]:
        where = TopicPartition(self._topic, partition)
        watermarks = self._clients.reader("wharf.state-reader", uncommitted=True)
        try:
            first, end = watermarks.get_watermark_offsets(where, _TIMEOUT_S, cached=False)
        finally:
            watermarks.close()
        found: dict[str, dict[bytes, bytes]] = {instance: {} for instance in instances}
        reader = self._clients.reader("wharf.state-reader")
        try:
            reader.assign([TopicPartition(self._topic, partition, first)])
            while not self._take(reader.consume(_BATCH, 0.1), found, end):
                if self._stopped:
                    return []
        finally:
            reader.close()
        return [Loaded(partition, instance, list(items.items())) for instance, items in found.items()]

    def _take(self, messages: Sequence[object], found: dict[str, dict[bytes, bytes]], end: int) -> bool:
        """True once the end was seen at or above the watermark: positions do not pass control records."""
        done = False
        for message in messages:
            problem = message.error()  # type: ignore[attr-defined]
            if problem is not None:
                if problem.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(problem)
                done = done or message.offset() >= end  # type: ignore[attr-defined]
                continue
            key: bytes = message.key() or b""  # type: ignore[attr-defined]
            instance, _ = split_key(key)
            items = found.get(instance)
            if items is None:
                continue
            value: bytes | None = message.value()  # type: ignore[attr-defined]
            if value is None:
                items.pop(key, None)
            else:
                items[key] = value
        return done
