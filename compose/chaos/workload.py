"""Load in both directions at a steady rate, under ids known in advance, and a ledger of what Kafka acknowledged.

In flight is what was put in and has not come out at the other end as a read_committed consumer sees it: commands that
Kafka acknowledged without a final result, messages that a contact was to have sent by now without an event, control
requests without an answer. Whose work a command is, the limiter's or a connector's, the limiter's own result tells.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from confluent_kafka import KafkaError, Message, Producer

from compose.chaos.tail import Tail
from compose.demo.simulator import Simulator
from core.kafka.clients import KafkaClients
from core.oracle import Key
from core.settings import Settings
from schemas.codec import open_codec

# Contacts are asked to write for so long at a time; what they then write is theirs, whatever dies.
ROUND_S = 10.0
REQUEST_S = 2.0
FLUSH_S = 60.0
Told = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True, slots=True)
class People:
    """`phones`: instance → number of its phone; `contacts`: numbers, each of which talks to every instance it is named for."""

    phones: Mapping[str, str]
    contacts: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Flight:
    """`records` of the log that are not in ClickHouse: only told where they matter, and not part of the total."""

    commands: int = 0
    messages: int = 0
    requests: int = 0
    records: int = 0

    @property
    def total(self) -> int:
        return self.commands + self.messages + self.requests


@dataclass(slots=True)
class _Pending:
    """Ids in the order in which they were put in; those that came out are forgotten when somebody looks."""

    ids: deque[tuple[str, str, float]] = field(default_factory=deque)  # instance, id, due


class Workload:
    """Entering starts the threads; `stop()` ends the load and waits until everything is acknowledged or failed."""

    def __init__(self, settings: Settings, simulator: Simulator, people: People, tail: Tail, rate: float) -> None:
        """`rate`: messages a second each way, over all instances."""
        self._prefix = settings.kafka.prefix
        self._simulator = simulator
        self._people = people
        self._tail = tail
        self._rate = rate
        self._codec = open_codec(settings)
        self._producer: Producer = KafkaClients(settings.kafka, "wharf-chaos-load").producer()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._request_numbers = itertools.count(1)
        self._failure: Exception | None = None
        self._commands, self._messages, self._requests = _Pending(), _Pending(), _Pending()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("commands", self._command), ("contacts", self._write), ("requests", self._ask))
        ]
        self.acknowledged: list[Key] = []
        self.failed: dict[Key, str] = {}
        self.requests: list[Key] = []

    def __enter__(self) -> Workload:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def stop(self) -> int:
        """No more is put in. How many records are neither acknowledged nor failed."""
        self.__exit__(None, None, None)
        left = self._producer.flush(FLUSH_S)
        self.raise_failure()
        return left

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def in_flight(self, instances: Iterable[str] | None = None) -> Flight:
        """Of these instances, or of all."""
        chosen = None if instances is None else set(instances)
        self._producer.poll(0)
        now = time.time()
        with self._lock:
            return Flight(
                _open(self._commands, chosen, now, self._tail.is_final),
                _open(self._messages, chosen, now, self._tail.has_event),
                _open(self._requests, chosen, now, self._tail.is_answered),
            )

    def unanswered(self) -> int:
        """Requests of any instance."""
        return self.in_flight().requests

    def undecided(self) -> int:
        """Commands that Kafka acknowledged and the limiter has neither admitted nor ended."""
        self._producer.poll(0)
        with self._lock:
            _open(self._commands, None, 0.0, self._tail.is_final)
            return sum(not self._tail.is_decided(command) for _, command, _ in self._commands.ids)

    def at_connectors(self, instances: Collection[str]) -> int:
        """Commands of these instances that are admitted and have no final result."""
        self._producer.poll(0)
        with self._lock:
            _open(self._commands, None, 0.0, self._tail.is_final)
            return sum(
                instance in instances and self._tail.is_decided(command) for instance, command, _ in self._commands.ids
            )

    def ask(self, instances: Sequence[str]) -> None:
        """Requests at once, for the registrar."""
        for instance in instances:
            self._produce_request(instance)
        self._producer.poll(0)

    def burst(self, instances: Sequence[str], count: int) -> None:
        """Commands at once, so that what is hit next has work in flight."""
        for number in range(count):
            self._produce_command(instances[number % len(instances)])
        self._producer.poll(0)

    # --- the threads -------------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as failure:  # noqa: BLE001  (raised where the run goes on)
            self._failure = failure

    def _command(self) -> None:
        for instance in itertools.cycle(self._people.phones):
            if self._over.wait(1 / self._rate):
                return
            self._produce_command(instance)
            self._producer.poll(0)

    def _write(self) -> None:
        """Rounds of floods; each contact goes on by itself, also while the rest of the world is dying."""
        pairs = [(instance, contact) for instance, ones in self._people.contacts.items() for contact in ones]
        each = self._rate / len(pairs)
        count = max(1, round(each * ROUND_S))
        for number in itertools.count(1):
            began = time.time()
            for turn, (instance, contact) in enumerate(pairs):
                prefix = f"in-{number}-{instance}-{contact}-"
                after = ROUND_S / count * turn / len(pairs)
                ids = self._simulator.flood(
                    contact, self._people.phones[instance], count, prefix, count / ROUND_S, round(after * 1000)
                )
                with self._lock:
                    for at, message_id in enumerate(ids):
                        self._messages.ids.append((instance, message_id, began + after + at * ROUND_S / count))
            if self._over.wait(max(0.0, began + ROUND_S - time.time())):
                return

    def _ask(self) -> None:
        """Requests that change nothing, so that the registrar has something in flight."""
        for instance in itertools.cycle(self._people.phones):
            if self._over.wait(REQUEST_S):
                return
            self._produce_request(instance)

    def _produce_request(self, instance: str) -> None:
        with self._lock:
            number = next(self._request_numbers)
        key = (instance, f"request-{number}")
        record = {
            "request_id": key[1],
            "kind": "instance_change",
            "instance_id": instance,
            "body": {"desired": "online"},
            "requested_by": "wharf-chaos",
            "requested_at": time.time_ns() // 1_000_000,
        }
        self._produce("control", instance, record, partial(self._request_told, key))

    def _produce_command(self, instance: str) -> None:
        with self._lock:
            number = next(self._numbers)
        contacts = self._people.contacts[instance]
        # The next contact each time round, so that every chat is used.
        to = contacts[number // max(1, len(self._people.phones)) % len(contacts)]
        key = (instance, f"out-{number:08d}")
        record: dict[str, object] = {
            "command_id": key[1],
            "instance_id": instance,
            "type": "send",
            "to": to,
            "content": {"type": "text", "text": key[1]},
        }
        self._produce("commands", instance, record, partial(self._command_told, key))

    def _produce(self, topic: str, instance: str, record: dict[str, object], told: Told) -> None:
        value = self._codec.encode(topic, record)
        while not self._over.is_set():
            try:
                self._producer.produce(f"{self._prefix}{topic}", value=value, key=instance.encode(), on_delivery=told)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _command_told(self, key: Key, error: KafkaError | None, _message: Message) -> None:
        with self._lock:
            if error is None:
                self.acknowledged.append(key)
                self._commands.ids.append((*key, 0.0))
            else:
                self.failed[key] = error.name()

    def _request_told(self, key: Key, error: KafkaError | None, _message: Message) -> None:
        with self._lock:
            if error is None:
                self.requests.append(key)
                self._requests.ids.append((*key, 0.0))


def _open(pending: _Pending, instances: set[str] | None, now: float, is_out: Callable[[str], bool]) -> int:
    """Those that have not come out; the others are dropped for good."""
    left = deque(entry for entry in pending.ids if not is_out(entry[1]))
    pending.ids = left
    return sum(due <= now and (instances is None or instance in instances) for instance, _, due in left)
