"""The topic `_schemas`: written, then read back before anything is answered.

Rules: one partition, compacted; this process is its only writer while it runs. The state comes from reading alone, so
that what is answered is what a restart will find. Kafka away = not ready, told by `trouble`, and tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # some are missing in its __all__
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from core.errors import SettingsError, WharfError
from core.kafka.clients import KafkaClients
from core.telemetry.logs import get_logger
from schemas.registry import errors, records
from schemas.registry.records import Record, UnreadableError

TOPIC = "_schemas"
WRITE_TIMEOUT_S = 10.0
_ADMIN_TIMEOUT_S = 5.0
_RETRY_S = 0.5
_PROBE_EVERY_S = 2.0
_POLL_S = 0.1
_PARTITION_EOF = KafkaError._PARTITION_EOF  # the name librdkafka gives it


class SchemaLog:
    """Reads the topic in a thread of its own; `apply` gets every record there, oldest first, under `lock`."""

    def __init__(
        self,
        clients: KafkaClients,
        apply: Callable[[Record], None],
        lock: threading.RLock,
        *,
        topic: str = TOPIC,
        on_fatal: Callable[[WharfError], None],
    ) -> None:
        self._clients = clients
        self._apply = apply
        self._lock = lock
        self._topic = topic
        self._on_fatal = on_fatal
        self._log = get_logger(__name__)
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self._position = 0
        self._ready = False
        # A write was begun and not seen to end.
        self._unsettled = False
        self._trouble: str | None = "not started"
        self._producer = clients.producer()
        self._thread = threading.Thread(target=self._run, name="schema-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush(1)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be answered now, or None."""
        return self._trouble

    @property
    def ready(self) -> bool:
        """The topic was read to its end at least once."""
        return self._ready

    def settle(self) -> None:
        """To be called before a write is decided: 503 while nobody knows whether an earlier one was made.

        A write that timed out may still reach Kafka; decided without it, the next would take the same id.
        """
        if self._unsettled:
            if self._producer.flush(WRITE_TIMEOUT_S):
                raise errors.store_timeout("an earlier write has no outcome yet")
            self.append([records.noop()])

    def append(self, batch: Sequence[Record]) -> None:
        """Write the records in order and return when this process has read them."""
        self._unsettled = True
        offsets: list[int] = []
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                offsets.append(int(message.offset() or 0))

        for record in batch:
            self._producer.produce(self._topic, key=record.key, value=record.value, partition=0, on_delivery=delivered)
        deadline = time.monotonic() + WRITE_TIMEOUT_S
        if self._producer.flush(WRITE_TIMEOUT_S):
            # What was not sent yet shall not be sent after it was refused; what is under way, settle() waits for.
            self._producer.purge(in_flight=False)
            self._producer.flush(0)
        if failed:
            raise errors.store_unavailable(str(failed[0]))
        if len(offsets) < len(batch):
            raise errors.store_timeout(f"Kafka did not confirm within {WRITE_TIMEOUT_S:.0f} s")
        with self._moved:
            if not self._moved.wait_for(lambda: self._position > max(offsets), deadline - time.monotonic()):
                raise errors.store_timeout("the write was not read back in time")
        self._unsettled = False

    # ------------------------------------------------------------------------------------------------- the thread
    def _run(self) -> None:
        try:
            if self._prepared():
                self._read()
        except WharfError as cause:
            self._trouble = str(cause)
            self._on_fatal(cause)

    def _prepared(self) -> bool:
        """The topic exists and is as it must be; False when stopped before."""
        admin = self._clients.admin()
        while not self._stop.is_set():
            try:
                self._ensure_topic(admin)
            except KafkaException as cause:
                self._say(f"waiting for Kafka at {self._clients.settings.bootstrap}: {_text(cause)}")
                self._stop.wait(_RETRY_S)
            else:
                return True
        return False

    def _ensure_topic(self, admin: AdminClient) -> None:
        topics = admin.list_topics(timeout=_ADMIN_TIMEOUT_S).topics
        if self._topic not in topics:
            wanted = NewTopic(
                self._topic,
                num_partitions=1,
                replication_factor=self._clients.settings.replication_factor,
                config={"cleanup.policy": "compact"},
            )
            try:
                admin.create_topics([wanted], operation_timeout=_ADMIN_TIMEOUT_S)[self._topic].result()
            except KafkaException as cause:
                if cause.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            return
        partitions = len(topics[self._topic].partitions)
        if partitions != 1:
            raise SettingsError("config.topics", f"{self._topic} has {partitions} partitions and needs exactly one")
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        found = admin.describe_configs([resource], request_timeout=_ADMIN_TIMEOUT_S)[resource].result()
        policy = found["cleanup.policy"].value
        if policy != "compact":
            raise SettingsError("config.topics", f"{self._topic} has cleanup.policy={policy} and would lose schemas")

    def _read(self) -> None:
        consumer = self._clients.reader("schema-registry")
        partition = TopicPartition(self._topic, 0, OFFSET_BEGINNING)
        consumer.assign([partition])
        self._say("reading the schemas")
        next_probe = time.monotonic() + _PROBE_EVERY_S
        try:
            while not self._stop.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None:
                    self._take(message)
                if time.monotonic() >= next_probe:
                    self._probe(consumer, partition)
                    next_probe = time.monotonic() + _PROBE_EVERY_S
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._apply_message(message)
            self._move(int(message.offset() or 0) + 1)
        elif error.code() == _PARTITION_EOF:
            self._move(int(message.offset() or 0))
            if not self._ready:
                self._log.info("schemas_restored", topic=self._topic, position=self._position)
            self._ready = True
            self._trouble = None
        else:
            self._say(f"reading {self._topic}: {error}")

    def _apply_message(self, message: Message) -> None:
        key = message.key()
        if not isinstance(key, bytes):
            self._log.warning("schema_record_without_key", offset=message.offset())
            return
        value = message.value()
        try:
            with self._lock:
                self._apply(Record(key, value if isinstance(value, bytes) else None))
        except UnreadableError as cause:
            self._log.error("schema_record_unreadable", offset=message.offset(), error=cause)

    def _probe(self, consumer: Consumer, partition: TopicPartition) -> None:
        """Ask the broker, because an idle consumer does not notice that it is gone or back."""
        try:
            consumer.get_watermark_offsets(partition, timeout=1.0)
        except KafkaException as cause:
            self._say(f"Kafka at {self._clients.settings.bootstrap} does not answer: {_text(cause)}")
        else:
            if self._ready:
                self._trouble = None

    def _move(self, position: int) -> None:
        with self._moved:
            self._position = position
            self._moved.notify_all()

    def _say(self, trouble: str) -> None:
        if self._trouble != trouble:
            self._log.warning("registry_waits", trouble=trouble)
        self._trouble = trouble


def _text(cause: KafkaException) -> str:
    error = cause.args[0]
    return error.str() if isinstance(error, KafkaError) else str(cause)
