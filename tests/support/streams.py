"""Registrar and limiter as real processes on a real Kafka and registry, and what a test says to them and reads of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import orjson
from confluent_kafka import Producer

from core import ids
from core.envelope import envelope
from core.kafka import topic_admin
from core.kafka.clients import KafkaClients
from core.kafka.codec import Codec
from core.kafka.dump import dump
from core.kafka.processor import InRecord
from core.settings import Settings
from core.topics import TOPICS
from schemas import apply as schemas_apply
from schemas.codec import open_codec
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
Record = dict[str, Any]


class Process:
    """One process of ours; its log is a file, its telemetry port is read from there."""

    def __init__(self, module: str, env: dict[str, str], log: Path, *arguments: str) -> None:
        self.module = module
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = self._start(module, env, out, arguments)

    @staticmethod
    def _start(module: str, env: dict[str, str], out: IO[bytes], arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, env={**os.environ, **env}, stdout=out, stderr=out
        )

    def lines(self) -> list[Record]:
        """What this incarnation logged."""
        text = self._log.read_bytes()[self._from :]
        return [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]

    def tail(self) -> str:
        return self._log.read_bytes()[self._from :][-4000:].decode(errors="replace")

    def url(self) -> str:
        def port() -> int:
            found = [line["port"] for line in self.lines() if line.get("event") == "telemetry_listening"]
            assert self._process.poll() is None, self.tail()
            return int(found[0]) if found else 0

        return f"http://127.0.0.1:{wait_until(port, 90, f'{self.module} listens')}"

    def health(self) -> Record:
        body: Record = httpx.get(f"{self.url()}/healthz", timeout=5).json()
        return body

    def wait_healthy(self, owned: int = PARTITIONS) -> None:
        def ready() -> bool:
            report = self.health()
            return report["status"] == "ok" and f"{owned} partitions" in report["checks"]["kafka"]["detail"]

        wait_until(ready, 60, f"{self.module} owns its partitions")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        if self.alive:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, seconds: float = 30) -> int:
        return self._process.wait(seconds)

    def stop(self) -> tuple[int, float]:
        """Exit code of an orderly stop, and how long it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30), time.monotonic() - began


@dataclass
class Streams:
    """Topics and a registry of its own; processes are started by the test."""

    settings: Settings
    env: dict[str, str]
    folder: Path
    codec: Codec
    clients: KafkaClients
    producer: Producer
    started: list[Process] = field(default_factory=list)

    def start(self, name: str, **env: str) -> Process:
        process = Process(f"streams.{name}", {**self.env, **env}, self.folder / f"{name}.log")
        self.started.append(process)
        return process

    def start_sink(self, **env: str) -> Process:
        # A log for each slot: a process finds its own port in it.
        log = self.folder / f"{env.get('WHARF_SINK__SLOT', 'sink')}.log"
        process = Process("analytics.sink", {**self.env, **env}, log)
        self.started.append(process)
        return process

    # -- what is said

    def put(self, topic: str, key: str, value: bytes | None, partition: int | None = None) -> None:
        where = ids.partition_for(key, PARTITIONS) if partition is None else partition
        self.producer.produce(self.settings.kafka.prefix + topic, value, key.encode(), partition=where)

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    def command(self, record: Record, *, avro: bool = False, partition: int | None = None) -> bytes:
        value = orjson.dumps(record)
        if avro:
            value = self.codec.encode("commands", self.codec.decode_command(value))
        self.put("commands", record["instance_id"], value, partition)
        return value

    def request(self, kind: str, instance_id: str, request_id: str | None = None, **fields: Any) -> str:
        """A control request; `body` and `expected_version` as fields."""
        name = request_id or str(uuid.uuid4())
        record = {
            "request_id": name,
            "kind": kind,
            "instance_id": instance_id,
            "requested_by": "test",
            "requested_at": 1,
            **fields,
        }
        self.put("control", instance_id, self.codec.encode("control", record))
        return name

    def ask(self, kind: str, instance_id: str, **fields: Any) -> Record:
        """A control request and its answer."""
        name = self.request(kind, instance_id, **fields)
        self.flush()
        return self.wait_for(
            lambda: [a for a in self.records("audit") if a["request_id"] == name], f"answer to {kind}"
        )[0]

    def session(self, instance_id: str, generation: int, state: str) -> None:
        """What the connector would say of a session."""
        record = {
            "envelope": envelope(
                event_id=str(uuid.uuid4()),
                instance_id=instance_id,
                generation=generation,
                occurred_at=1,
                received_at=1,
            ),
            "kind": f"session.{state}",
            "state": state,
        }
        self.put("events.session", instance_id, self.codec.encode("events.session", record))

    # -- what is read

    def dump(self, topic: str) -> list[InRecord]:
        return list(dump(self.clients, [topic]))

    def records(self, topic: str) -> list[Record]:
        return [self.codec.decode(topic, record.value) for record in self.dump(topic) if record.value is not None]

    def results(self, command_id: str) -> list[Record]:
        return [r for r in self.records("results") if r["command_id"] == command_id]

    def wait_for(self, found: Callable[[], list[Record]], what: str, seconds: float = 30) -> list[Record]:
        return wait_until(found, seconds, what)

    def wait_result(self, command_id: str, state: str, count: int = 1) -> Record:
        def found() -> list[Record]:
            told = [r for r in self.results(command_id) if r["state"] == state]
            return told if len(told) >= count else []

        return self.wait_for(found, f"{command_id} is {state}")[-1]


@contextmanager
def running_streams(kafka: RunningKafka, prefix: str, folder: Path, **env: str) -> Iterator[Streams]:
    """Topics, schemas and a registry; on leaving, all processes are ended and the topics deleted."""
    with ExitStack() as stack:
        port = _free_port()
        given = kafka.settings(prefix)
        settings = given.model_copy(
            update={
                "kafka": given.kafka.model_copy(update={"partitions": PARTITIONS}),
                "registry": given.registry.model_copy(update={"url": f"http://127.0.0.1:{port}"}),
            }
        )
        environment = {
            "WHARF_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "WHARF_KAFKA__PREFIX": prefix,
            "WHARF_KAFKA__PARTITIONS": str(PARTITIONS),
            "WHARF_KAFKA__EXTERNAL": "true",
            "WHARF_REGISTRY__URL": settings.registry.url,
            "WHARF_DATA_DIR": str(folder / "data"),
            **env,
        }
        topic_admin.apply(settings)
        schema_topic = f"{prefix}_schemas"
        clients = KafkaClients(settings.kafka, "streams-test")
        stack.callback(_delete_topics, clients, [*(prefix + topic.name for topic in TOPICS), schema_topic])
        registry = Process("schemas.registry", environment, folder / "registry.log", "--topic", schema_topic)
        stack.callback(registry.kill)
        wait_until(lambda: _answers(settings.registry.url), 30, f"registry answers: {registry.tail()}")
        schemas_apply.apply(settings)
        streams = Streams(settings, environment, folder, open_codec(settings), clients, clients.producer())
        try:
            yield streams
        finally:
            for process in streams.started:
                process.kill()


def _free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/subjects", timeout=2).is_success
    except httpx.TransportError:
        return False


def _delete_topics(clients: KafkaClients, names: list[str]) -> None:
    admin = clients.admin()
    for future in admin.delete_topics(names).values():
        future.exception(30)
