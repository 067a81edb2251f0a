"""A whole running system for end-to-end tests: the local stack with the simulated WhatsApp, and what tests do with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compose.demo.dump import Dump, observe
from compose.demo.phones import Phones
from compose.demo.simulator import Simulator
from compose.demo.system import System
from compose.stack import ports
from compose.stack.embedded import EmbeddedStack
from core.oracle import Key, Observation, Report, compare
from tests.support.waiting import wait_until

PAIR_SECONDS = 60
RESTART_SECONDS = 60
LOOK_SECONDS = 0.5
_FIRST_PHONE = 491530000001
_FIRST_CONTACT = 491710000001


@dataclass(slots=True)
class Paired:
    """Instances of one test with what was sent through them."""

    phones: dict[str, str]  # instance id → number of its phone
    commands: list[Key] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return list(self.phones)


class LiveStack:
    """One per session; each test adds instances and contacts of its own and looks at those only."""

    def __init__(self, embedded: EmbeddedStack, simulator: Simulator) -> None:
        self.embedded = embedded
        self.simulator = simulator
        self.settings = embedded.settings
        self.system = System(self.settings, "tests")
        self.dump = Dump(self.settings)
        self._numbers = itertools.count()

    def add_instances(self, count: int) -> Paired:
        """Create and pair them."""
        numbers = [next(self._numbers) for _ in range(count)]
        phones = {f"test-{n}": str(_FIRST_PHONE + n) for n in numbers}
        owners = Phones(self.system, self.simulator, phones)
        try:
            deadline = time.monotonic() + PAIR_SECONDS
            while owners.unpaired:
                if time.monotonic() > deadline:
                    raise AssertionError(f"not paired within {PAIR_SECONDS} s: {sorted(owners.unpaired)}")
                owners.step()
        finally:
            owners.close()
        return Paired(phones)

    def add_contact(self, *, auto_reply: bool = False) -> str:
        """The number of a new contact with a client of its own."""
        phone = str(_FIRST_CONTACT + next(self._numbers))
        self.simulator.add_contact(phone, auto_reply=auto_reply)
        return phone

    def send(self, paired: Paired, instance: str, to: str, text: str, command_id: str | None = None) -> str:
        """Produce a `send` command; its id."""
        command_id = self.system.send_text(instance, to, text, command_id)
        paired.commands.append((instance, command_id))
        return command_id

    def observe(self, paired: Paired) -> Observation:
        phones = {phone: instance for instance, phone in paired.phones.items()}
        return observe(self.dump, self.simulator, phones, paired.commands)

    def settle(self, paired: Paired, seconds: float, *, incoming: int = 0, outgoing: int = 0) -> Report:
        """Look until nothing differs, nothing changes and the counts are there; else what differs after `seconds`."""
        self.system.flush()
        deadline = time.monotonic() + seconds
        before: Report | None = None
        while True:
            report = compare(self.observe(paired))
            counts = report.counts
            enough = counts["in: events"] >= incoming and counts["out: received"] >= outgoing
            if (report.clean and enough and report == before) or time.monotonic() > deadline:
                assert report.clean, "\n".join(report.lines())
                assert enough, f"wanted {incoming} in and {outgoing} out: {report.counts}"
                return report
            before = report
            time.sleep(LOOK_SECONDS)

    def kill(self, name: str) -> int:
        """kill -9 the process of a component; its pid."""
        return self.embedded.kill(name)

    def kill_and_wait(self, name: str, seconds: float = RESTART_SECONDS) -> None:
        """kill -9 a component and wait until the supervisor has it ready again."""
        restarts = self.embedded.state.component(name).restarts
        self.kill(name)
        self.wait_restarted(name, restarts, seconds)

    def wait_restarted(self, name: str, restarts: int, seconds: float = RESTART_SECONDS) -> None:
        """Wait until a component has died more often than so many times and is ready again."""

        def is_back() -> bool:
            part = self.embedded.state.component(name)
            return part.restarts > restarts and part.ready

        wait_until(is_back, seconds, f"{name} ready again")

    def restart_with_faults(self, name: str, faults: dict[str, object], seconds: float = RESTART_SECONDS) -> None:
        """Start a component again with WHARF_TEST_FAULTS; when those have killed it, it starts without."""
        self.embedded.files.put_next_env(name, {"WHARF_TEST_FAULTS": json.dumps(faults)})
        self.kill_and_wait(name, seconds)

    def pids(self, names: Sequence[str]) -> dict[str, int | None]:
        state = self.embedded.state
        return {name: state.component(name).pid for name in names}


@contextlib.contextmanager
def running_stack(data_dir: Path, env: dict[str, str], connectors: int = 1) -> Iterator[LiveStack]:
    """`env` is the whole environment of its processes."""
    switches = {"WHARF_SIMULATOR__ENABLED": "true", "WHARF_ALLOW_FAULTS": "1"}
    embedded = EmbeddedStack(data_dir, simulate=0, connectors=connectors, env={**own_ports(), **env, **switches})
    with embedded, Simulator(embedded.settings.simulator.control_url) as simulator:
        yield LiveStack(embedded, simulator)


def own_ports() -> dict[str, str]:
    """Not the usual ones: stacks that start in the same second would take each other's Kafka for their own."""
    rng = random.Random()
    kafka = ports.free_port(rng, set())
    registry = ports.free_port(rng, {kafka})
    clickhouse = ports.free_port(rng, {kafka, registry})
    clickhouse_http = ports.free_port(rng, {kafka, registry, clickhouse})
    return {
        "WHARF_CLICKHOUSE__PORT": str(clickhouse),
        "WHARF_CLICKHOUSE__HTTP_PORT": str(clickhouse_http),
        "WHARF_KAFKA__BOOTSTRAP": f"127.0.0.1:{kafka}",
        "WHARF_REGISTRY__URL": f"http://127.0.0.1:{registry}",
    }
