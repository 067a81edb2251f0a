"""A read_committed consumer as any user has one: what it saw, when it saw it, and waiting for what is to come.

It decodes nothing while it watches (CloudEvents headers tell what a record is), so that it takes little of the
processors that the measured processes share with it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from core.kafka.clients import KafkaClients

_CALL_S = 10.0
_POLL_S = 0.1
_BURST = 500
_TELL_S = 2.0
Tell = Callable[[str], None]


class BenchError(RuntimeError):
    """The benchmark cannot be carried out; the message says what did not come."""


@dataclass(frozen=True, slots=True)
class Record:
    """`kind` is its CloudEvents type without `wharf.`, `at` the epoch seconds at which it was seen."""

    topic: str
    key: str
    kind: str
    value: bytes
    at: float


class Watch:
    """From the present end of the topics on, in a thread of its own."""

    def __init__(self, clients: KafkaClients, topics: Sequence[str]) -> None:
        prefix = clients.settings.prefix
        self._names = {prefix + topic: topic for topic in topics}
        self._consumer = clients.reader("wharf-bench")
        self._changed = threading.Condition()
        self._counts: Counter[str] = Counter()
        self._records: list[Record] = []
        self._failure: Exception | None = None
        self._stop = False
        known = self._consumer.list_topics(timeout=_CALL_S).topics
        ends = []
        for name in self._names:
            for partition in known[name].partitions:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(name, partition), _CALL_S, cached=False)
                ends.append(TopicPartition(name, partition, end))
        self._consumer.assign(ends)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        self._thread.join()
        self._consumer.close()

    def restart(self) -> None:
        """Forget what was seen so far."""
        with self._changed:
            self._counts.clear()
            self._records = []

    def forget(self) -> None:
        """Keep the counts only, not the records: for long periods."""
        with self._changed:
            self._records = []

    def count(self, kind: str) -> int:
        with self._changed:
            return self._counts[kind]

    def records(self, kind: str) -> list[Record]:
        with self._changed:
            return [record for record in self._records if record.kind == kind]

    def wait(self, wanted: dict[str, int], seconds: float, tell: Tell) -> None:
        """Until so many of each kind were seen; BenchError when none comes for `seconds`."""
        last_change, before, told = time.monotonic(), -1, time.monotonic()
        with self._changed:
            while any(self._counts[kind] < count for kind, count in wanted.items()):
                self._changed.wait(_POLL_S)
                if self._failure is not None:
                    raise self._failure
                now, seen = time.monotonic(), sum(self._counts[kind] for kind in wanted)
                if seen != before:
                    before, last_change = seen, now
                elif now - last_change > seconds:
                    raise BenchError(f"nothing came for {seconds:.0f} s: {self._progress(wanted)}")
                if now - told > _TELL_S:
                    told = now
                    tell(self._progress(wanted))

    def _progress(self, wanted: dict[str, int]) -> str:
        return ", ".join(f"{kind} {self._counts[kind]}/{count}" for kind, count in wanted.items())

    def _run(self) -> None:
        try:
            while not self._stop:
                first = self._consumer.poll(_POLL_S)
                if first is None:
                    continue
                messages = [first, *self._consumer.consume(_BURST, 0)]
                at = time.time()
                seen = [self._read(message, at) for message in messages if self._is_record(message)]
                with self._changed:
                    self._records += seen
                    self._counts.update(record.kind for record in seen)
                    self._changed.notify_all()
        except Exception as failure:  # noqa: BLE001  (raised where somebody waits)
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _is_record(self, message: Any) -> bool:
        fault = message.error()
        if fault is None:
            return True
        if fault.code() != KafkaError._PARTITION_EOF and not fault.retriable():
            raise KafkaException(fault)
        return False

    def _read(self, message: Any, at: float) -> Record:
        headers = cast("list[tuple[str, bytes]]", message.headers() or [])
        kind = next((value.decode() for name, value in headers if name == "ce_type"), "")
        key = (message.key() or b"").decode(errors="replace")
        return Record(self._names[message.topic()], key, kind.removeprefix("wharf."), message.value() or b"", at)
