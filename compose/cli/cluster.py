"""What the commands do with Kafka: produce a request or a command, and read topics until an answer is there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaError, KafkaException, Message

from compose.cli.output import stderr
from compose.stack.state import StackFiles
from core.errors import DBError, PoisonError
from core.kafka.clients import KafkaClients
from core.kafka.codec import COMMANDS
from core.kafka.dump import End, Start, dump
from core.kafka.processor import InRecord
from core.settings import Settings, load_settings
from core.topics import TOPICS
from schemas.codec import open_codec

Data = Annotated[
    Path | None, typer.Option("--data", help="Data directory of the local stack; else the setting data_dir.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Give up waiting after so many seconds.")]

PATIENCE_S = 5.0
PRODUCE_TIMEOUT_S = 10.0

_WITH_RECORD = {topic.name for topic in TOPICS if topic.record is not None}


def command_settings(data: Path | None = None) -> Settings:
    """Settings of this command: those of the stack that runs on the data directory, overridden by the environment."""
    settings = load_settings()
    if data is not None:
        settings = settings.model_copy(update={"data_dir": data})
    running = StackFiles(settings.data_dir.absolute()).running()
    return settings if running is None else load_settings({**running.settings, **os.environ})


def require_kafka(settings: Settings) -> None:
    """DBError after seconds when Kafka is away, for commands whose own work would wait much longer."""
    try:
        KafkaClients(settings.kafka, "wharf-cli").admin().list_topics(timeout=PATIENCE_S)
    except KafkaException as cause:
        text = f"Kafka at {settings.kafka.bootstrap} does not answer: {cause.args[0].str()}"
        raise DBError("db.kafka_unavailable", text) from cause


@dataclass(frozen=True, slots=True)
class Seen:
    """A record with what its value says; `fault` instead of `value` when that cannot be decoded."""

    record: InRecord
    value: dict[str, Any]
    fault: PoisonError | None = None

    @property
    def topic(self) -> str:
        return self.record.topic

    @property
    def instance(self) -> str:
        return (self.record.key or b"").decode(errors="replace")


class Cluster:
    """Kafka and registry as a command of people sees them: it gives up after seconds and says what is away."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._clients = KafkaClients(settings.kafka, "wharf-cli")
        self._stop = threading.Event()
        self._began = time.monotonic()
        self.codec = open_codec(settings, stop=self._stop, on_state=self._registry_says)

    def _registry_says(self, trouble: str | None) -> None:
        if trouble is not None and time.monotonic() - self._began > PATIENCE_S:
            self._stop.set()

    def produce(self, topic: str, key: str, record: dict[str, Any]) -> None:
        """One record, acknowledged by Kafka."""
        value = self.codec.encode(topic, record)
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        producer = self._clients.producer()
        producer.produce(self.settings.kafka.prefix + topic, key=key.encode(), value=value, on_delivery=delivered)
        if producer.flush(PRODUCE_TIMEOUT_S) or failed:
            cause = failed[0].str() if failed else f"no answer within {PRODUCE_TIMEOUT_S:.0f} s"
            raise DBError("db.kafka_unavailable", f"Kafka at {self.settings.kafka.bootstrap}: {cause}")

    def read(self, topics: Sequence[str], start: Start | None = None, *, follow: bool = False) -> Iterator[Seen]:
        """Committed records; without `follow` up to the present end."""
        for record in dump(self._clients, topics, start=start, follow=follow):
            yield self._seen(record)

    def ask(self, topics: Sequence[str], act: Callable[[], None], seconds: float) -> Iterator[Seen]:
        """Act, and what comes on the topics after that, until the time is up.

        It acts once the reader stands at the end of the topics, so that no answer can be missed.
        """
        deadline: float | None = None

        def until() -> bool:
            nonlocal deadline
            if deadline is None:
                act()
                deadline = time.monotonic() + seconds
            return time.monotonic() > deadline

        for record in dump(self._clients, topics, start=End(), follow=True, until=until):
            yield self._seen(record)

    def _seen(self, record: InRecord) -> Seen:
        if record.topic not in _WITH_RECORD or record.value is None:
            return Seen(record, {})
        try:
            if record.topic == COMMANDS:
                return Seen(record, self.codec.decode_command(record.value))
            return Seen(record, self.codec.decode(record.topic, record.value))
        except PoisonError as fault:
            return Seen(record, {}, fault)


def note(text: str) -> None:
    """A word to people that no script reads."""
    stderr().print(text, markup=False, soft_wrap=True)
