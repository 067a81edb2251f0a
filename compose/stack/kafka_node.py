"""One local Kafka: a single KRaft node that is broker and controller, with the settings measured in facts/kafka.md, 6.

It does not fsync: acknowledged data survives the end of processes, not a power cut.
"""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compose.toolchain import kafka
from compose.toolchain.java import Java

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.backoff.ms=5000
log.cleaner.dedupe.buffer.size=16777216
"""

# One node on a shared machine: small heap, one collector thread, and the compiler that starts fast. The log cleaner's
# buffer is 128 MB by default, half of this heap: each collection was then a full one and stopped Kafka for 0.1 s.
_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.showDateTime=true")
FORMAT_SECONDS = 60


class FormatError(RuntimeError):
    """Kafka's storage could not be formatted."""


def cluster_id(make: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """A new id as Kafka writes them; like Kafka's own, never one that looks like an option."""
    while (text := urlsafe_b64encode(make().bytes).rstrip(b"=").decode()).startswith("-"):
        continue
    return text


@dataclass(frozen=True, slots=True)
class KafkaNode:
    java: Java
    folder: Path
    host: str
    port: int
    controller_port: int
    archive: tuple[str, ...] = ()  # JVM options that use (or make) an archive of loaded classes

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        return [*self._jvm(), "kafka.Kafka", str(self.properties)]

    def prepare(self) -> None:
        """Write the settings (ports may have changed) and format the storage unless it has been."""
        logs = self.folder / "logs"
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = _PROPERTIES.format(host=self.host, port=self.port, controller_port=self.controller_port, logs=logs)
        # Whoever needs other settings of the local broker writes them here; of two lines for one name the last holds.
        own = self.folder / "extra.properties"
        self.properties.write_text(ours + (own.read_text() if own.exists() else ""))
        if not (logs / "meta.properties").exists():
            self._format()

    def _jvm(self) -> list[str]:
        return [str(self.java.binary), *_JVM, *self.archive, "-cp", kafka.class_path()]

    def _format(self) -> None:
        tool = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster_id(),
            "-c",
            str(self.properties),
            "--ignore-formatted",
        ]
        done = subprocess.run(
            [*self._jvm(), *tool], capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False
        )
        if done.returncode != 0:
            raise FormatError(f"formatting {self.folder} failed: {(done.stderr + done.stdout).strip()[-500:]}")
