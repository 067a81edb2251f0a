"""The supervisor with real processes: order, restarts, one stack per directory, and that nothing outlives it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compose.stack import ports
from compose.stack.component import StackError, State
from compose.stack.leash import descendants
from compose.stack.state import StackFiles, StackState
from tests.support.waiting import wait_until

READY_SECONDS = 20
GONE_SECONDS = 10


class Stack:
    """A supervisor of stand-ins in its own process."""

    def __init__(self, data: Path, *flags: str, first: int | None = None) -> None:
        rng = random.Random()
        self.files = StackFiles(data)
        self.first = first or ports.free_port(rng, set())
        self.second = ports.free_port(rng, {self.first})
        arguments = [str(data), str(self.first), str(self.second), *flags]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.support.stand_in_stack", *arguments])

    def state(self) -> StackState | None:
        return self.files.running()

    def until_ready(self) -> StackState:
        state = wait_until(lambda: (now := self.state()) and now.ready and now, READY_SECONDS, "stack ready")
        assert state
        return state

    def family(self) -> set[int]:
        return set(descendants(self.process.pid))

    def pid(self, name: str) -> int | None:
        state = self.state()
        return state.component(name).pid if state else None


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    started: list[Stack] = []

    def start_stack(*flags: str, first: int | None = None) -> Stack:
        started.append(Stack(tmp_path / "data", *flags, first=first))
        return started[-1]

    yield start_stack
    for stack in started:
        stack.process.kill()
        stack.process.wait()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if is_alive(pid)}


def test_starts_in_order_and_ends_in_order_when_asked(start: Callable[..., Stack]) -> None:
    stack = start()
    state = stack.until_ready()
    assert [part.state for part in state.components] == [State.READY, State.DONE, State.READY]
    assert stack.files.log("step").read_text() == "step done\n"
    family = stack.family()
    assert len(family) >= 6  # two leashes, two stand-ins, two grandchildren

    stack.process.send_signal(signal.SIGTERM)

    assert stack.process.wait(GONE_SECONDS) == 0
    assert not alive(family)
    assert stack.state() is None


@pytest.mark.parametrize("flag", [(), ("--ignore-term",)])
def test_nothing_survives_a_killed_supervisor(start: Callable[..., Stack], flag: tuple[str, ...]) -> None:
    stack = start(*flag)
    stack.until_ready()
    family = stack.family()

    stack.process.kill()
    stack.process.wait()

    wait_until(lambda: not alive(family), GONE_SECONDS, "every process of the stack gone")
    assert stack.state() is None


def test_nothing_survives_a_supervisor_killed_while_it_starts(start: Callable[..., Stack]) -> None:
    stack = start()
    family = wait_until(stack.family, READY_SECONDS, "a first child")
    stack.process.kill()
    stack.process.wait()
    wait_until(lambda: not alive(family), GONE_SECONDS, "every process of the stack gone")


def test_a_component_that_ignores_the_request_to_end_is_killed(start: Callable[..., Stack]) -> None:
    stack = start("--ignore-term")
    stack.until_ready()
    family = stack.family()
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(GONE_SECONDS) == 0
    assert not alive(family)


def test_what_dies_is_started_again_with_its_grandchildren_gone(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until_ready()
    pid = stack.pid("first")
    assert pid
    grandchildren = set(descendants(pid))
    assert len(grandchildren) == 2

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: stack.pid("first") not in (None, pid), READY_SECONDS, "another pid")
    state = stack.until_ready()
    assert state.component("first").restarts == 1
    assert state.component("second").restarts == 0
    assert not alive(grandchildren)


def test_what_the_leash_dies_of_is_started_again_and_leaves_nothing(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until_ready()
    pid = stack.pid("second")
    assert pid
    leash = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    os.kill(leash, signal.SIGKILL)

    wait_until(lambda: stack.pid("second") not in (None, pid), READY_SECONDS, "another pid")
    stack.until_ready()
    assert not is_alive(pid)


def test_the_state_tells_why_a_component_died(start: Callable[..., Stack], tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.write_text("2")
    stack = start("--die-at-start", str(left))

    def words() -> str:
        state = stack.state()
        return state.component("second").error if state and state.components else ""

    assert wait_until(words, READY_SECONDS, "the reason") == "exit code 4: dying at start"
    assert stack.until_ready().component("second").restarts == 2


def test_a_clean_exit_of_a_server_is_a_death_too(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until_ready()
    with pytest.raises(OSError):  # noqa: PT011 - it dies while it answers, in one of several ways
        urllib.request.urlopen(f"http://127.0.0.1:{stack.second}/die", timeout=5)
    wait_until(lambda: (now := stack.state()) and now.component("second").restarts == 1, READY_SECONDS, "a restart")


def test_the_answer_of_a_stranger_on_its_port_does_not_make_a_component_ready(start: Callable[..., Stack]) -> None:
    rng = random.Random()
    port = ports.free_port(rng, set())
    stand_in = Path(__file__).parents[2] / "support" / "stand_in.py"
    stranger = subprocess.Popen([sys.executable, str(stand_in), str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: ports.holder_pid(port) == stranger.pid, READY_SECONDS, "the stranger listens")
        stack = start(first=port)
        seen: set[tuple[State, str]] = set()

        def is_refused() -> bool:
            if state := stack.state():
                seen.update((part.state, part.error) for part in state.components if part.name == "first")
            return any("Address already in use" in error for _, error in seen)

        wait_until(is_refused, READY_SECONDS, "the component says why")
        assert State.READY not in {state for state, _ in seen}
    finally:
        stranger.kill()
        stranger.wait()
    # Once the port is free it gets it.
    stack.until_ready()


def test_a_second_stack_on_the_same_data_is_refused_with_the_pid(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until_ready()
    with pytest.raises(StackError, match=f"pid {stack.process.pid} runs on"), stack.files.locked():
        pass
