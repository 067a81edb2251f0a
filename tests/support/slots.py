"""Connectors started by hand with `wharf connector` against a stack that has none of its own: nobody restarts them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from core.topics import TOPICS
from tests.support.stack import LiveStack
from tests.support.streams import Process
from tests.support.waiting import wait_until

MOVE_S = 90
# Every topic a connector writes events of sessions to.
_EVENTS = tuple(topic.name for topic in TOPICS if topic.name.startswith("events."))


class Slot:
    """One process of one slot."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process

    def health(self) -> dict[str, object]:
        return self.process.health()

    def owned(self) -> set[int]:
        """Partitions it owns, by its own word; none before it listens."""
        try:
            rows = self.process.health()["partitions"]
        except httpx.TransportError:
            return set()
        return {row["partition"] for row in rows if row["role"] == "owner"}

    def states(self) -> dict[str, str]:
        return {row["instance_id"]: row["state"] for row in self.process.health()["instances"]}

    def host_pid(self) -> int:
        return int(self.process.health()["checks"]["host"]["detail"].split("pid ")[1].split(",")[0])

    def pids(self) -> list[int]:
        return [self.process.pid, self.host_pid()]

    def logged(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.process.lines() if line.get("event") == event]


class Slots:
    """The connectors of one test, and what they own together."""

    def __init__(self, stack: LiveStack, folder: Path) -> None:
        self.stack = stack
        self.partitions = set(range(stack.settings.kafka.partitions))
        self._folder = folder
        self._started: list[Slot] = []

    def start(self, name: str, **env: str) -> Slot:
        slot = Slot(name, self._wharf_connector(name, env))
        self._started.append(slot)
        return slot

    def leave(self, name: str, seconds: float = 60, **env: str) -> int:
        """`wharf connector --leave`; its exit code."""
        return self._wharf_connector(name, env, "--leave").wait(seconds)

    def wait_owning(self, *shares: tuple[Slot, int], seconds: float = MOVE_S) -> None:
        """Until each owns so many partitions, all of them together."""

        def settled() -> bool:
            owned = [slot.owned() for slot, _ in shares]
            fits = [len(one) for one in owned] == [count for _, count in shares]
            return fits and set().union(*owned) == self.partitions

        shown = ", ".join(f"{slot.name} owns {count}" for slot, count in shares)
        wait_until(settled, seconds, f"{shown}; logs in {self._folder}")

    def wait_online(self, ids: list[str], *slots: Slot, seconds: float = MOVE_S) -> None:
        """Until these instances are online at one of these slots."""

        def missing() -> set[str]:
            return set(ids) - {one for slot in slots for one, state in slot.states().items() if state == "online"}

        wait_until(lambda: not missing(), seconds, f"all online; logs in {self._folder}")

    def close(self) -> None:
        """No slot outlives its test, and none leaves a claim: who takes that over would fence a slot just started."""
        running = [slot.process for slot in self._started if slot.process.alive]
        for process in running:
            os.kill(process.pid, signal.SIGTERM)
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def _wharf_connector(self, name: str, env: dict[str, str], *more: str) -> Process:
        self._folder.mkdir(exist_ok=True)
        log = self._folder / f"{name}-{len(list(self._folder.iterdir()))}.log"
        data = str(self.stack.embedded.files.data_dir)
        return Process("compose.cli", env, log, "connector", "--slot", name, "--data", data, *more)


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """They stand still meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def epochs(stack: LiveStack, ids: list[str]) -> dict[str, list[int]]:
    """The session epoch of every `session.online` event of these instances, in order."""
    out: dict[str, list[int]] = {one: [] for one in ids}
    for event in stack.dump.records("events.session"):
        envelope = event["envelope"]
        if event["kind"] == "session.online" and envelope["instance_id"] in out:
            out[envelope["instance_id"]].append(envelope["session_epoch"])
    return out


def stale_events(stack: LiveStack, ids: list[str]) -> list[str]:
    """Committed events that do not follow, by epoch and number, on those before them in the same topic."""
    found = []
    for topic in _EVENTS:
        last: dict[str, tuple[int, int]] = {}
        for event in stack.dump.records(topic):
            envelope = event["envelope"]
            one, at = envelope["instance_id"], (envelope["session_epoch"], envelope["seq"])
            if one not in ids or at[0] is None:
                continue
            if at <= last.get(one, (-1, -1)):
                found.append(f"{topic} {one}: {at} after {last[one]}")
            last[one] = at
    return found


def is_gone(pid: int) -> bool:
    # A zombie has no command line.
    path = Path(f"/proc/{pid}/cmdline")
    try:
        return not path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
