"""What a read_committed consumer has seen so far while faults happen: what is still in flight, who is online since when.

It follows from before the first command on, in a thread of its own, and survives every outage of Kafka. The owner records
of the state topic are compacted away within a minute, so this is also where the owners' history comes from.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from compose.chaos.seen import Seen
from core.histories import Claim, Position
from core.kafka.clients import KafkaClients
from core.kafka.marks import OWNER_KEY, POSITION_KEY, decode_mark, decode_position
from core.settings import Settings
from schemas.codec import open_codec

TOPICS = ("results", "events.message", "events.session", "audit")
STATE_TOPIC = "sessions"
_CALL_S = 10.0
_POLL_S = 0.05
_BURST = 500


class Tail(Seen):
    """Entering starts it; everything it offers may be asked from any thread."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._prefix = settings.kafka.prefix
        self._consumer: Consumer = KafkaClients(settings.kafka, "wharf-chaos").reader("wharf-chaos-tail")
        self._codec = open_codec(settings)
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    def __enter__(self) -> Tail:
        positions = []
        known = self._consumer.list_topics(timeout=_CALL_S).topics
        for topic in (*TOPICS, STATE_TOPIC):
            name = f"{self._prefix}{topic}"
            for partition in known[name].partitions:
                low, _ = self._consumer.get_watermark_offsets(TopicPartition(name, partition), _CALL_S)
                positions.append(TopicPartition(name, partition, low))
        self._consumer.assign(positions)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # --- its thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                first = self._consumer.poll(_POLL_S)
                if first is None:
                    continue
                for message in (first, *self._consumer.consume(_BURST, 0)):
                    self._take(message)
        except Exception as failure:  # noqa: BLE001  (raised where the run goes on)
            self._failure = failure

    def _take(self, message: Message) -> None:
        fault = message.error()
        if fault is not None:
            if fault.fatal() or fault.code() == KafkaError._AUTO_OFFSET_RESET:
                raise KafkaException(fault)
            return
        topic, value = str(message.topic()).removeprefix(self._prefix), message.value()
        if value is None:
            return
        if topic == STATE_TOPIC:
            self._take_mark(message)
            return
        record = self._codec.decode(topic, value)
        if topic == "audit":
            self.take_answer(record)
        elif topic == "results":
            self.take_result(record)
        else:
            self.take_event(topic, record, message.timestamp()[1] / 1000, time.time())

    def _take_mark(self, message: Message) -> None:
        value, at = message.value(), message.timestamp()[1]
        where = message.partition() or 0, message.offset() or 0
        if message.key() == POSITION_KEY and isinstance(value, bytes):
            self.take_positions([Position(*where, topic, next_) for topic, next_ in decode_position(value).items()])
        if message.key() != OWNER_KEY:
            return
        mark = decode_mark(value.decode() if isinstance(value, bytes) else value)
        assert mark is not None, f"an owner record that is no mark: {value!r}"
        claim = Claim(*where, mark.kind, mark.slot, mark.incarnation, mark.member, at)
        self.take_mark(claim, at / 1000)
