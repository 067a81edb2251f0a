"""An archive of Kafka's loaded classes, made on a training run: Kafka then starts in a second instead of three.

Java 24 and newer make an AOT cache, older ones a dynamic CDS archive. An archive fits one Java and one list of
jars; where none can be made Kafka starts without.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from compose.stack import ports, probes
from compose.stack.kafka_node import KafkaNode
from compose.stack.process import LeashedProcess, LogFile
from compose.toolchain import kafka, stamps
from compose.toolchain.java import Java
from core.settings import KafkaSettings

_AOT_SINCE = 24
_STAMP = kafka.HOME / "classes.stamp"
_ARCHIVE = kafka.HOME / "classes.archive"
READY_SECONDS = 60
STOP_SECONDS = 60
CALL_SECONDS = 30
NONE_MADE = "none"


class TrainingError(RuntimeError):
    """The training run did not get as far as it must."""


def _inputs(java: Java) -> str:
    return stamps.digest([kafka.LOCK], str(java.binary), java.version)


def is_settled(java: Java) -> bool:
    """There is an archive for this Java, or it is known that none can be made."""
    inputs = _inputs(java)
    return (stamps.is_done(_STAMP, inputs) and _ARCHIVE.is_file()) or stamps.is_done(_STAMP, NONE_MADE + inputs)


def options(java: Java) -> tuple[str, ...]:
    """JVM options that use the archive; none if there is none for this Java and these jars."""
    if not (_ARCHIVE.is_file() and stamps.is_done(_STAMP, _inputs(java))):
        return ()
    use = "-XX:AOTCache" if java.major >= _AOT_SINCE else "-XX:SharedArchiveFile"
    return (f"{use}={_ARCHIVE}", "-Xlog:disable", "-Xlog:all=error:stderr")


def make(java: Java) -> str:
    """Train and keep the archive; says how that went. That this Java makes none is remembered, a failed run is not."""
    _ARCHIVE.unlink(missing_ok=True)
    make_option = "-XX:AOTCacheOutput" if java.major >= _AOT_SINCE else "-XX:ArchiveClassesAtExit"
    with tempfile.TemporaryDirectory(prefix="wharf-train-") as name:
        try:
            _train(java, Path(name), (f"{make_option}={_ARCHIVE}",))
        except (TrainingError, KafkaException) as error:
            _ARCHIVE.unlink(missing_ok=True)
            return f"not made, Kafka starts without: {error}"
    made = _ARCHIVE.is_file()
    stamps.mark_done(_STAMP, _inputs(java) if made else NONE_MADE + _inputs(java))
    return "made" if made else "this Java makes none, Kafka starts without"


def _train(java: Java, folder: Path, archive: tuple[str, ...]) -> None:
    rng = random.Random()
    port = ports.free_port(rng, set())
    controller_port = ports.free_port(rng, {port})
    KafkaNode(java, folder / "kafka", "127.0.0.1", port, controller_port).prepare()
    node = KafkaNode(java, folder / "kafka", "127.0.0.1", port, controller_port, archive)
    log = LogFile(folder / "kafka.log")
    process = LeashedProcess.start(node.command(), log=log, env=os.environ, cwd=folder)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not probes.kafka(KafkaSettings(bootstrap=node.bootstrap)).ready:
            process.read()
            if process.exit_code is not None or time.monotonic() > deadline:
                raise TrainingError(f"Kafka did not start: {log.path.read_text()[-500:]}")
        _exercise({"bootstrap.servers": node.bootstrap})
    finally:
        # The archive is written at an orderly end.
        process.stop(STOP_SECONDS)


def _exercise(client: dict[str, str]) -> None:
    """What every stack does at once: topics, a transaction, a consumer group."""
    admin = AdminClient({**client})
    admin.create_topics([NewTopic("train", 1, 1)])["train"].result(CALL_SECONDS)
    producer = Producer({**client, "transactional.id": "train"})
    producer.init_transactions(CALL_SECONDS)
    producer.begin_transaction()
    producer.produce("train", b"value", b"key")
    producer.commit_transaction(CALL_SECONDS)
    consumer = Consumer({**client, "group.id": "train", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["train"])
        message = consumer.poll(CALL_SECONDS)
        if message is None or message.error():
            raise TrainingError(f"Kafka gave no record back: {message and message.error()}")
        consumer.commit(message=message, asynchronous=False)
    finally:
        consumer.close()
