"""The static member of a consumer group: tells which partitions are ours, carries the group's metadata, fetches nothing.

Callbacks run inside `serve()`. What they raise is kept and raised by `serve()`, for nothing may pass through librdkafka.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import OFFSET_END, Consumer, KafkaError, TopicPartition

from core.errors import Fenced
from core.telemetry.logs import get_logger

_LEAVE_S = 0.05
# Errors that come as messages do not carry the fatal flag.
_FATAL = frozenset({KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID})  # noqa: SLF001


class Reactions(Protocol):
    """What the loop does when the group changes. Each is called with partition numbers."""

    def assigned(self, partitions: set[int]) -> None: ...
    def revoked(self, partitions: set[int]) -> None: ...
    def lost(self, partitions: set[int]) -> None: ...


class Membership:
    """Not thread-safe; the loop's thread owns it."""

    def __init__(self, consumer: Consumer, topic: str, reactions: Reactions) -> None:
        self.consumer = consumer
        self.assigned: set[int] = set()
        self._topic = topic
        self._reactions = reactions
        self._failure: BaseException | None = None
        self._in_callback = False
        self._log = get_logger(__name__)

    def join(self) -> None:
        self.consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def metadata(self) -> object:
        """Fresh for every transaction: it proves the generation."""
        return self.consumer.consumer_group_metadata()

    def member_id(self) -> str:
        """Given by the group at each joining, unlike the slot."""
        return str(self.consumer.memberid() or "")

    def serve(self, seconds: float) -> None:
        """Run callbacks that are due, waiting up to `seconds` for one."""
        if self._in_callback:
            # A transaction repeated inside a callback: polling is not possible here.
            time.sleep(seconds)
            return
        message = self.consumer.poll(seconds)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        fault = None if message is None else message.error()
        if fault is not None:
            if fault.fatal() or fault.code() in _FATAL:
                raise Fenced(f"{fault.name()}: {fault.str()}")
            self._log.warning("kafka_group_error", kafka_error=fault.name(), detail=fault.str())

    def close(self) -> None:
        """Static members keep their place in the group until the session time-out."""
        self.consumer.close()

    def leave(self, left: Callable[[], float]) -> None:
        """Give up the place in the group too, then close."""
        self.consumer.unsubscribe()
        # The revocation is a callback; until it has run the group is not told.
        while self.assigned and left() > 0:
            self.serve(_LEAVE_S)
        self.consumer.close()

    def _on_assign(self, consumer: Consumer, entries: list[TopicPartition]) -> None:
        numbers = {entry.partition for entry in entries}
        # It never fetches: the end as position, and paused. Positions are the fetcher's business.
        consumer.incremental_assign([TopicPartition(entry.topic, entry.partition, OFFSET_END) for entry in entries])
        consumer.pause(entries)
        self.assigned |= numbers
        self._log.info("assigned", partitions=sorted(numbers))
        self._react(self._reactions.assigned, numbers)

    def _on_revoke(self, consumer: Consumer, entries: list[TopicPartition]) -> None:
        numbers = {entry.partition for entry in entries}
        self._log.info("revoked", partitions=sorted(numbers))
        self._react(self._reactions.revoked, numbers)
        self._let_go(consumer, entries, numbers)

    def _on_lost(self, consumer: Consumer, entries: list[TopicPartition]) -> None:
        numbers = {entry.partition for entry in entries}
        self._log.warning("lost", partitions=sorted(numbers))
        self._react(self._reactions.lost, numbers)
        self._let_go(consumer, entries, numbers)

    def _let_go(self, consumer: Consumer, entries: list[TopicPartition], numbers: set[int]) -> None:
        self.assigned -= numbers
        if self._failure is None:
            consumer.incremental_unassign(entries)
        else:
            # A member joins again once its partitions are unassigned, which the binding does where a callback has not.
            # A process that ends must not, or partitions move to it and back.
            consumer.unsubscribe()

    def _react(self, reaction: Callable[[set[int]], None], numbers: set[int]) -> None:
        self._in_callback = True
        try:
            reaction(numbers)
        except BaseException as cause:  # noqa: BLE001  (raised by serve())
            self._failure = cause
        finally:
            self._in_callback = False
