"""What a read_committed consumer has seen so far while faults happen: what is still in flight, who is online since when.

It follows from before the first command on, in a thread of its own, and survives every outage of Kafka. The owner records
of the state topic are compacted away within a minute, so this is also where the owners' history comes from.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.histories import Claim
from core.kafka.clients import KafkaClients
from core.kafka.marks import OWNER_KEY, decode_mark
from core.settings import Settings
from schemas.codec import open_codec

TOPICS = ("results", "events.message", "events.session", "audit")
STATE_TOPIC = "sessions"
# What the event topic tells beside states.
_HAPPENINGS = ("degraded", "restored", "gap", "offline_sync", "unknown")
_CALL_S = 10.0
_POLL_S = 0.05
_BURST = 500


@dataclass(frozen=True, slots=True)
class Online:
    """A session came online: `at` is the record's own time in epoch seconds."""

    instance_id: str
    epoch: int
    at: float


@dataclass(frozen=True, slots=True)
class Owned:
    """A mark with its record's time."""

    claim: Claim
    at: float


class Tail:
    """Entering starts it; everything it offers may be asked from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.kafka.prefix
        self._consumer: Consumer = KafkaClients(settings.kafka, "wharf-chaos").reader("wharf-chaos-tail")
        self._codec = open_codec(settings)
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._finals: set[str] = set()
        self._messages: set[str] = set()
        self._answers: set[str] = set()
        self._online: dict[str, list[Online]] = defaultdict(list)
        self._states: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._owned: list[Owned] = []
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

    # --- what was seen -----------------------------------------------------------------------------------------------

    def is_final(self, command_id: str) -> bool:
        return command_id in self._finals

    def has_event(self, message_id: str) -> bool:
        return message_id in self._messages

    def is_answered(self, request_id: str) -> bool:
        return request_id in self._answers

    def state(self, instance_id: str) -> str:
        return self._states.get(instance_id, "")

    def epoch(self, instance_id: str) -> int:
        return self._epochs.get(instance_id, 0)

    def last(self, instance_id: str) -> float:
        """Epoch seconds at which its last record of any kind was seen here."""
        return self._last.get(instance_id, 0.0)

    def online_after(self, instance_id: str, at: float) -> Online | None:
        """The first time it came online after a moment."""
        with self._lock:
            return next((each for each in self._online[instance_id] if each.at > at), None)

    def owned(self) -> list[Owned]:
        with self._lock:
            return list(self._owned)

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
        record, now = self._codec.decode(topic, value), time.time()
        if topic == "audit":
            self._answers.add(record["request_id"])
        elif topic == "results":
            self._last[record["instance_id"]] = now
            if record["final"]:
                self._finals.add(record["command_id"])
        else:
            self._take_event(topic, record, message.timestamp()[1] / 1000, now)

    def _take_event(self, topic: str, record: dict[str, object], at: float, now: float) -> None:
        envelope = record["envelope"]
        assert isinstance(envelope, dict)
        instance, epoch = envelope["instance_id"], envelope["session_epoch"] or 0
        self._last[instance] = now
        self._epochs[instance] = max(epoch, self._epochs.get(instance, 0))
        if topic == "events.message":
            key = record["key"]
            assert isinstance(key, dict)
            if record["kind"] == "message.new":
                self._messages.add(key["id"])
        elif record["state"] not in _HAPPENINGS:
            self._states[instance] = str(record["state"])
            if record["state"] == "online":
                with self._lock:
                    self._online[instance].append(Online(instance, epoch, at))

    def _take_mark(self, message: Message) -> None:
        if message.key() != OWNER_KEY:
            return
        value = message.value()
        mark = decode_mark(value.decode() if isinstance(value, bytes) else value)
        assert mark is not None, f"an owner record that is no mark: {value!r}"
        claim = Claim(message.partition() or 0, message.offset() or 0, mark.kind, mark.slot, mark.incarnation)
        with self._lock:
            self._owned.append(Owned(claim, message.timestamp()[1] / 1000))
