"""What a running stack tells about itself: a lock that only one can hold, and a file that says who runs where.

The lock is the truth about *whether* it runs (the kernel lets go of it however the supervisor ends), the file says the
rest.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compose.stack.component import StackError, State

FOLDER = "stack"
LOGS = "logs"


@dataclass(slots=True)
class ComponentState:
    name: str
    state: State
    address: str = ""
    health_url: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    pid: int | None = None
    restarts: int = 0
    log: str = ""
    error: str = ""

    @property
    def ready(self) -> bool:
        return self.state in (State.READY, State.DONE, State.EXTERNAL)


@dataclass(slots=True)
class StackState:
    pid: int
    started_ms: int
    simulated: bool
    # What its processes were given, so that commands find the same Kafka.
    settings: dict[str, str]
    components: list[ComponentState]

    @property
    def ready(self) -> bool:
        return bool(self.components) and all(part.ready for part in self.components)

    def component(self, name: str) -> ComponentState:
        for part in self.components:
            if part.name == name:
                return part
        known = ", ".join(part.name for part in self.components)
        raise StackError(f"there is no component {name!r} in this stack; it has {known}")


class StackFiles:
    """The supervisor's own files in the data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.folder = data_dir / FOLDER
        self.logs = data_dir / LOGS
        self._lock = self.folder / "lock"
        self._state = self.folder / "state.json"
        self._ports = self.folder / "ports.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only stack on this data directory, or say which one is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise StackError(
                    f"a stack with pid {file.read().strip() or '?'} runs on {self.data_dir}; `wharf down` stops it"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def running(self) -> StackState | None:
        """The state of the stack that runs here now, without components while it only begins to start."""
        try:
            with self._lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return self._state_of(int(self._lock.read_text() or 0))

    def _state_of(self, pid: int) -> StackState:
        """What that supervisor has written; nothing known yet if the file is its predecessor's."""
        state = self.last_state()
        return state if state and state.pid == pid else StackState(pid, 0, False, {}, [])

    def last_state(self) -> StackState | None:
        """What was last written, by a stack that may be gone."""
        try:
            value = json.loads(self._state.read_text())
        except FileNotFoundError:
            return None
        components = [ComponentState(**{**part, "state": State(part["state"])}) for part in value.pop("components")]
        return StackState(**value, components=components)

    def forget_state(self) -> None:
        self._state.unlink(missing_ok=True)

    def write_state(self, state: StackState) -> None:
        self._write(self._state, asdict(state))

    def put_next_env(self, name: str, env: dict[str, str]) -> None:
        """For tests: what the next start of a component, and only that one, gets in its environment."""
        self._write(self.folder / f"next-env-{name}.json", env)

    def put_env(self, name: str, env: dict[str, str]) -> None:
        """For tests: what every start of a component gets in its environment."""
        self._write(self.folder / f"env-{name}.json", env)

    def take_next_env(self, name: str) -> dict[str, str]:
        path = self.folder / f"next-env-{name}.json"
        once = _read(path)
        path.unlink(missing_ok=True)
        return {**_read(self.folder / f"env-{name}.json"), **once}

    def remembered_ports(self) -> dict[str, int]:
        return _read(self._ports)

    def remember_ports(self, ports: dict[str, int]) -> None:
        self._write(self._ports, ports)

    def _write(self, path: Path, value: object) -> None:
        """Whole or not at all: readers look at any time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(value, indent=1))
        draft.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return value
