"""Every Kafka client wharf makes, with every setting that was measured (facts/kafka.md, sections 1, 5 and 6)."""

from __future__ import annotations

import logging
import re
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from core.kafka.sizes import FRAMING_BYTES
from core.settings import KafkaSettings
from core.topics import TOPICS

# As long as an owner holds on without a commit (Pace.give_up): when Kafka ends a transaction for its age it fences its
# process, and a broker's restart is nobody else's death.
TRANSACTION_TIMEOUT_MS = 20_000
_MAX_MESSAGE = max(topic.max_record_bytes for topic in TOPICS) + FRAMING_BYTES

# An administrator's request ends by its own time-out, with Kafka's error; this much later nobody waits for that any more.
_LATE_S = 5.0

Config = dict[str, Any]
T = TypeVar("T")


def answered(future: Future[T], seconds: float) -> T:
    """What Kafka answers to an AdminClient's request with that time-out; KafkaException `_TIMED_OUT` if it never ends.

    librdkafka may lose a request whose coordinator moves meanwhile.
    """
    try:
        return future.result(seconds + _LATE_S)
    except TimeoutError as cause:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True)) from cause


class Repetitions(logging.Filter):
    """A client that finds no broker says so a hundred times a second: the same line passes once in ten seconds."""

    _EVERY_S = 10.0
    _VARIES = re.compile(r"\d+ms|\d+ identical|#\w+-\d+|receive \d+")

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        line = self._VARIES.sub("", record.getMessage())
        if record.created - self._passed.get(line, -self._EVERY_S) < self._EVERY_S:
            return False
        # Bounded: lines that name offsets or ids would pile up.
        if len(self._passed) > 1000:
            self._passed.clear()
        self._passed[line] = record.created
        return True


class KafkaClients:
    """Factory of clients for one cluster; names and offsets are the caller's business."""

    def __init__(self, settings: KafkaSettings, client_id: str = "wharf") -> None:
        self.settings = settings
        self._client_id = client_id
        self._log = logging.getLogger(f"librdkafka.{client_id}")
        if not any(isinstance(present, Repetitions) for present in self._log.filters):
            self._log.addFilter(Repetitions())

    def _base(self) -> Config:
        given = self.settings
        config: Config = {
            "bootstrap.servers": given.bootstrap,
            "client.id": self._client_id,
            "security.protocol": given.security_protocol,
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 1000,
            # As the Java client: a connection asked for while a node stood still must not delay the next one by 30 s.
            "socket.connection.setup.timeout.ms": 10_000,
        }
        if given.ssl_ca is not None:
            config["ssl.ca.location"] = str(given.ssl_ca)
        if given.sasl_mechanism is not None and given.sasl_password is not None:
            config["sasl.mechanism"] = given.sasl_mechanism
            config["sasl.username"] = given.sasl_username
            config["sasl.password"] = given.sasl_password.get_secret_value()
        return config

    def _consumer(self, group: str, **config: Any) -> Consumer:
        return Consumer(
            {
                **self._base(),
                "group.id": group,
                "enable.auto.commit": False,
                # Positions are set explicitly: a lost one must be seen, never guessed.
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "fetch.error.backoff.ms": 10,
                "retry.backoff.ms": 10,
                **{name.replace("_", "."): value for name, value in config.items()},
            },
            logger=self._log,
        )

    def member(self, group: str, slot: str, session_timeout_ms: int) -> Consumer:
        """The static member of the group: tells what is ours and carries the group's metadata; it fetches nothing."""
        return self._consumer(
            group,
            group_instance_id=slot,
            group_protocol="classic",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=max(100, session_timeout_ms // 10),
        )

    def group_reader(self, group: str, slot: str, session_timeout_ms: int) -> Consumer:
        """A static member that reads what it is assigned, from positions that it sets itself; it is told of ends."""
        return self._consumer(
            group,
            enable_partition_eof=True,
            group_instance_id=slot,
            group_protocol="classic",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=max(100, session_timeout_ms // 10),
            fetch_wait_max_ms=100,
            fetch_queue_backoff_ms=2,
            queued_max_messages_kbytes=32_768,
        )

    def fetcher(self, group: str) -> Consumer:
        """Reads the inputs of owned partitions; assigned by hand, so that every position is explicit."""
        return self._consumer(
            f"{group}.fetcher",
            fetch_wait_max_ms=50,
            # The default of 1000 stalls a busy consumer.
            fetch_queue_backoff_ms=2,
            queued_max_messages_kbytes=32_768,
        )

    def reader(self, name: str, *, uncommitted: bool = False, wait_ms: int = 20) -> Consumer:
        """Bulk reader that reports the end of partitions; make it when it is needed, an idle one is slow to start."""
        return self._consumer(
            f"{name}.reader",
            isolation_level="read_uncommitted" if uncommitted else "read_committed",
            enable_partition_eof=True,
            fetch_wait_max_ms=wait_ms,
            fetch_error_backoff_ms=5,
            fetch_queue_backoff_ms=2,
            queued_max_messages_kbytes=65_536,
            fetch_message_max_bytes=16 << 20,
            fetch_max_bytes=64 << 20,
            check_crcs=False,
        )

    def marks_reader(self, group: str) -> Consumer:
        """Reads committed offsets with their metadata without waiting for pending transactions."""
        return self._consumer(group, isolation_level="read_uncommitted")

    def transactional_producer(self, transactional_id: str) -> Producer:
        """Says nothing of itself: the binding loses a fatal error when lines of the log follow it in the same call."""
        return Producer(
            {
                **self._base(),
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "linger.ms": 0,
                # A commit takes 1.3 to 4 ms instead of 107 ms: CONCURRENT_TRANSACTIONS is asked again at once.
                "retry.backoff.ms": 1,
                "retry.backoff.max.ms": 20,
                "partitioner": "murmur2_random",
                "message.max.bytes": _MAX_MESSAGE,
                "queue.buffering.max.messages": 500_000,
                "delivery.report.only.error": True,
                "log_level": 0,
            },
            logger=self._log,
        )

    def producer(self) -> Producer:
        """Idempotent producer for what stands in no transaction: requests, commands of the command line."""
        return Producer(
            {
                **self._base(),
                "enable.idempotence": True,
                "linger.ms": 0,
                "partitioner": "murmur2_random",
                "message.max.bytes": _MAX_MESSAGE,
                "message.timeout.ms": 30_000,
            },
            logger=self._log,
        )

    def admin(self) -> AdminClient:
        return AdminClient(self._base(), logger=self._log)
