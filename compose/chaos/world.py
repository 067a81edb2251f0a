"""The stack under faults: several connectors, each behind cables of its own, and simulated people.

Every connector reaches Kafka by a listener of its own whose advertised port is a cable's, so that all of its connections
go through that cable; its session host is told a WhatsApp address that is a cable's too. The harness itself uses neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urljoin

import httpx
from prometheus_client.parser import text_string_to_metric_families

from compose.bench import processes
from compose.bench.people import Pairing, add_contacts, contact_of, instance_of, phone_of
from compose.bench.watch import Tell
from compose.chaos.proxies import LOOPBACK, Cable, Cables, Directions
from compose.chaos.workload import People
from compose.demo.simulator import Simulator
from compose.demo.system import System
from compose.stack.component import State
from compose.stack.embedded import EmbeddedStack
from compose.stack.ports import free_port
from compose.stack.process import LeashedProcess, LogFile
from compose.stack.state import ComponentState, StackFiles
from core.settings import PREFIX, env_name
from core.telemetry.metrics import LAG

HOST = "wharf-host"
CONTACTS_PER_INSTANCE = 2
DISK_MB = 512
_POLL_S = 0.02
_CALL_S = 2.0
T = TypeVar("T")


class ChaosError(RuntimeError):
    """The run cannot be carried out or go on; the message says what did not come."""


@dataclass(frozen=True, slots=True)
class Site:
    """A connector and its cables."""

    name: str
    kafka: Cable
    whatsapp: Cable


@dataclass(frozen=True, slots=True)
class Options:
    sessions: int = 20
    connectors: int = 2
    small_disk: bool = False
    env: Mapping[str, str] | None = None  # more settings of every process
    faults: Mapping[str, Any] = field(default_factory=dict)  # WHARF_TEST_FAULTS of every start of every process of ours


class World:
    """Entering starts everything and waits until every instance is online; leaving stops it. The data stays."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self.options = options
        self.tell = tell
        self.folder = Path(tempfile.mkdtemp(prefix="wharf-chaos-"))
        self.names = [f"connector-{number}" for number in range(1, options.connectors + 1)]
        self._exit = ExitStack()
        self.restarts: list[tuple[float, str, str]] = []

    def __enter__(self) -> World:
        self.tell(f"starting a stack in {self.folder}")
        with ExitStack() as begun:
            self._start(begun)
            self._exit = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def _start(self, begun: ExitStack) -> None:
        # It runs on defaults: the user's own settings are for their own stacks.
        env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        rng, taken = random.Random(), set[int]()

        def port() -> int:
            taken.add(found := free_port(rng, taken))
            return found

        kafka, controller, whatsapp = port(), port(), port()
        control_url = f"http://{LOOPBACK}:{port()}"
        if self.options.small_disk:
            begun.enter_context(_small_disk(self.folder / "kafka"))
        self.cables = begun.enter_context(Cables())
        listeners = {name: port() for name in self.names}
        kafka_cables = {name: self.cables.lay((LOOPBACK, listeners[name]), port()) for name in self.names}
        whatsapp_cables = {name: self.cables.lay((LOOPBACK, whatsapp), port()) for name in self.names}
        self.sites = [Site(name, kafka_cables[name], whatsapp_cables[name]) for name in self.names]
        files = StackFiles(self.folder)
        files.remember_ports({"kafka-controller": controller, "simulator-whatsapp": whatsapp})
        folder = self.folder / "kafka"
        folder.mkdir(exist_ok=True)
        (folder / "extra.properties").write_text(_listeners(kafka, controller, listeners, kafka_cables))
        for site in self.sites:
            directions = begun.enter_context(Directions(partial(_info, control_url, site)))
            files.put_env(site.name, self._site_env(site, directions))
        env |= {
            env_name("simulator.enabled"): "true",
            env_name("simulator.control_url"): control_url,
            env_name("kafka.bootstrap"): f"{LOOPBACK}:{kafka}",
            env_name("registry.url"): f"http://{LOOPBACK}:{port()}",
            env_name("clickhouse.port"): str(port()),
            env_name("clickhouse.http_port"): str(port()),
            "WHARF_ALLOW_FAULTS": "1",
            "WHARF_TEST_LONGEST_PAUSE": "0",
            **({"WHARF_TEST_FAULTS": json.dumps(self.options.faults)} if self.options.faults else {}),
            **(self.options.env or {}),
        }
        self.env = env
        self.stack = begun.enter_context(
            EmbeddedStack(self.folder, simulate=0, connectors=len(self.names), env=env, on_change=self._changed)
        )
        self.settings = self.stack.settings
        self.simulator = begun.enter_context(Simulator(self.settings.simulator.control_url))
        self.system = System(self.settings, "wharf-chaos")
        numbers = range(self.options.sessions)
        Pairing(self.system, self.simulator, numbers).run(self.tell)
        add_contacts(self.simulator, range(self.options.sessions * CONTACTS_PER_INSTANCE), self.tell)
        self.people = People(
            {instance_of(number): phone_of(number) for number in numbers},
            {
                instance_of(number): [
                    contact_of(number * CONTACTS_PER_INSTANCE + at) for at in range(CONTACTS_PER_INSTANCE)
                ]
                for number in numbers
            },
        )

    def _site_env(self, site: Site, directions: Directions) -> dict[str, str]:
        return {
            env_name("kafka.bootstrap"): f"{LOOPBACK}:{site.kafka.port}",
            env_name("simulator.control_url"): directions.url,
        }

    def _changed(self, part: ComponentState) -> None:
        if part.state is State.RESTARTING:
            self.tell(f"{part.name}: {part.error}")

    # --- processes ---------------------------------------------------------------------------------------------------

    def part(self, name: str) -> ComponentState:
        return self.stack.state.component(name)

    def pid(self, name: str) -> int | None:
        return self.part(name).pid

    def host_pid(self, name: str) -> int | None:
        pid = self.pid(name)
        return None if pid is None else processes.child(pid, HOST)

    def started_at(self, pid: int) -> float | None:
        """Epoch seconds; None when it has gone."""
        try:
            return processes.started_at(pid)
        except (FileNotFoundError, ProcessLookupError):
            return None

    def sink_lag(self) -> int:
        """Records of the log that the sink says are not in ClickHouse yet; 0 while it does not answer."""
        url = self.part("sink").health_url
        try:
            text = httpx.get(urljoin(url, "/metrics"), timeout=_CALL_S).text
        except httpx.HTTPError:
            return 0
        found = (family.samples for family in text_string_to_metric_families(text) if family.name == LAG.name)
        return int(sum(sample.value for samples in found for sample in samples))

    def start_extra(self, slot: str, *words: str) -> LeashedProcess:
        """A connector beside those of the stack, as another machine would start it."""
        env = {
            **self.env,
            **self.stack.state.settings,
            env_name("connector.slot"): slot,
            env_name("telemetry.port"): "0",
        }
        command = [sys.executable, "-m", "connectors", *words]
        log = LogFile(self.stack.files.log(slot))
        return LeashedProcess.start(command, log=log, env=env, cwd=self.folder)

    def wait_until(self, condition: Callable[[], T], seconds: float, poll_s: float = _POLL_S) -> T | None:
        """The first true answer, or None after that time."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                return None
            time.sleep(poll_s)
        return answer


def _info(control_url: str, site: Site) -> dict[str, Any]:
    with Simulator(control_url) as simulator:
        return {**simulator.info(), "whatsapp_address": f"{LOOPBACK}:{site.whatsapp.port}"}


def _listeners(kafka: int, controller: int, listeners: Mapping[str, int], cables: Mapping[str, Cable]) -> str:
    """Settings of a broker that every connector reaches by a way of its own."""
    names = {name: name.upper().replace("-", "") for name in listeners}
    listening = [f"PLAINTEXT://{LOOPBACK}:{kafka}", f"CONTROLLER://{LOOPBACK}:{controller}"]
    listening += [f"{names[name]}://{LOOPBACK}:{port}" for name, port in listeners.items()]
    advertised = [f"PLAINTEXT://{LOOPBACK}:{kafka}"]
    advertised += [f"{names[name]}://{LOOPBACK}:{cables[name].port}" for name in listeners]
    protocols = [f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names.values())]
    return (
        f"listeners={','.join(listening)}\n"
        f"advertised.listeners={','.join(advertised)}\n"
        f"listener.security.protocol.map={','.join(protocols)}\n"
    )


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own for Kafka, which can be filled up."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ChaosError(f"no file system can be mounted for Kafka, which needs root: {done.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: Kafka may still be about to end.
        ctypes.CDLL(None).umount2(str(folder).encode(), 2)
