"""A local stack of its own that is measured: temporary data, free ports, and what its processes use."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from compose.bench import processes
from compose.bench.watch import BenchError, Tell
from compose.stack.component import State
from compose.stack.embedded import EmbeddedStack
from compose.stack.ports import free_port
from compose.stack.state import ComponentState
from core.settings import PREFIX, env_name

KAFKA, CLICKHOUSE, BENCH = "kafka", "clickhouse", "bench"
_POLL_S = 0.02
_NOTHING: Mapping[str, str] = MappingProxyType({})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds by process, at a moment or between two: on a processor, and waiting for one."""

    at: float
    cpu_s: dict[str, float]
    waited_s: dict[str, float] = field(default_factory=dict)

    def since(self, before: Usage) -> Usage:
        return Usage(
            self.at - before.at,
            {name: spent - before.cpu_s[name] for name, spent in self.cpu_s.items()},
            {name: waited - before.waited_s[name] for name, waited in self.waited_s.items()},
        )

    def percent(self, name: str) -> float:
        """Of one processor."""
        return self.cpu_s[name] / self.at * 100

    def ms_per(self, count: int, *names: str) -> float:
        """Milliseconds of these processes for each of so many."""
        return sum(self.cpu_s[name] for name in names) * 1000 / count


class Stage:
    """Entering starts the stack, or `only` these components and what they need. The data directory is removed at the end,
    and kept when something failed."""

    def __init__(self, tell: Tell, *, env: Mapping[str, str] = _NOTHING, only: Sequence[str] = ()) -> None:
        self.tell = tell
        self._given_env = dict(env)
        self._only = only
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        # A benchmark measures defaults: the user's own settings are for their own stacks.
        env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        env |= _own_ports(random.Random()) | self._given_env
        self.folder = Path(tempfile.mkdtemp(prefix="wharf-bench-"))
        self.tell(f"starting a stack in {self.folder}")
        self.stack = EmbeddedStack(self.folder, simulate=0, only=self._only, env=env, on_change=self._changed)
        with ExitStack() as begun:
            begun.enter_context(self.stack)
            self.settings = self.stack.settings
            self._begin(begun)
            self._exit = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()
        if error is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.tell(f"the logs are in {self.stack.files.logs}")

    def _begin(self, exit_stack: ExitStack) -> None:
        """What a measurement needs besides the stack; called once it runs."""

    def component(self, name: str) -> ComponentState:
        return self.stack.state.component(name)

    def pid(self, name: str) -> int:
        found = os.getpid() if name == BENCH else self.component(name).pid
        if found is None:
            raise BenchError(f"{name} does not run")
        return found

    def usage(self, *names: str) -> Usage:
        pids = {name: self.pid(name) for name in names}
        return Usage(
            time.monotonic(),
            {name: processes.stat(pid).cpu_s for name, pid in pids.items()},
            {name: processes.waited_s(pid) for name, pid in pids.items()},
        )

    def rss_mb(self, *names: str) -> float:
        return sum(processes.rss_bytes(self.pid(name)) for name in names) / 1e6

    def wait_until(self, condition: Callable[[], T], seconds: float, what: str) -> T:
        """The first true answer."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise BenchError(f"{what}: not within {seconds:.0f} s")
            time.sleep(_POLL_S)
        return answer

    def _changed(self, part: ComponentState) -> None:
        if part.state is State.RESTARTING:
            self.tell(f"{part.name}: {part.error}")


def _own_ports(rng: random.Random) -> dict[str, str]:
    """Settings of a stack that keeps off the usual ports: another one may be starting there at this moment."""
    own: list[int] = []
    while len(own) < 4:
        own.append(free_port(rng, set(own)))
    kafka, registry, clickhouse, clickhouse_http = own
    return {
        env_name("kafka.bootstrap"): f"127.0.0.1:{kafka}",
        env_name("registry.url"): f"http://127.0.0.1:{registry}",
        env_name("clickhouse.port"): str(clickhouse),
        env_name("clickhouse.http_port"): str(clickhouse_http),
    }
