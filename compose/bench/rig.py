"""A whole stack that is measured, with a simulated WhatsApp and people on it. Without ClickHouse and the sink unless they
are asked for: they take processor time from what is measured."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
from prometheus_client.parser import text_string_to_metric_families

from compose.bench import processes
from compose.bench.people import Pairing, add_contacts
from compose.bench.stage import Stage
from compose.bench.watch import BenchError, Tell, Watch
from compose.demo.simulator import Simulator
from compose.demo.system import System
from compose.stack.state import ComponentState
from core.kafka.clients import KafkaClients
from core.settings import env_name

CONNECTOR, LIMITER, HOST, SIMULATOR = "connector", "limiter", "wharf-host", "simulator"
# What is measured by the name of its processor; the stack names its processes by slot.
_COMPONENTS = {CONNECTOR: "connector-1"}
_CALL_S = 10.0


class Rig(Stage):
    def __init__(self, tell: Tell, *, analytics: bool) -> None:
        env = {
            env_name("simulator.enabled"): "true",
            env_name("clickhouse.enabled"): str(analytics).lower(),
        }
        super().__init__(tell, env=env)

    def _begin(self, exit_stack: ExitStack) -> None:
        self.simulator = exit_stack.enter_context(Simulator(self.settings.simulator.control_url))
        self.system = System(self.settings, "wharf-bench")
        self.clients = KafkaClients(self.settings.kafka, "wharf-bench")

    def add_sessions(self, first: int, count: int) -> None:
        Pairing(self.system, self.simulator, range(first, first + count)).run(self.tell)

    def add_contacts(self, first: int, count: int) -> None:
        add_contacts(self.simulator, range(first, first + count), self.tell)

    def watch(self, *topics: str) -> Watch:
        return Watch(self.clients, topics)

    def component(self, name: str) -> ComponentState:
        return super().component(_COMPONENTS.get(name, name))

    def pid(self, name: str) -> int:
        if name != HOST:
            return super().pid(name)
        found = processes.child(self.pid(CONNECTOR), HOST)
        if found is None:
            raise BenchError(f"{name} does not run")
        return found

    def metric(self, process: str, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = httpx.get(f"{self.component(process).address}/metrics", timeout=_CALL_S).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
