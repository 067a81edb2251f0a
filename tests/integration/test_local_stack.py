"""The local stack with its real parts: `wharf up`, `status`, `down`, and what happens when it dies."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from compose.stack import ports
from compose.stack.component import State
from compose.stack.leash import descendants
from compose.stack.state import StackFiles, StackState
from core.settings import PREFIX
from tests.support.stack import own_ports
from tests.support.waiting import wait_until

READY_SECONDS = 90
GONE_SECONDS = 10
NAMES = [
    *("kafka", "topics", "registry", "schemas", "clickhouse", "clickhouse-schema"),
    *("registrar", "limiter", "sink", "connector-1"),
]

pytestmark = pytest.mark.timeout(300)


class Wharf:
    """The `wharf` command on one data directory, with nothing of the developer's own settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = StackFiles(folder / "data")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | own_ports()

    def set(self, name: str, value: str) -> None:
        self._env[name] = value

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def status(self) -> dict[str, object]:
        report: dict[str, object] = json.loads(self.run("status", "--json").stdout)
        return report

    def until_ready(self) -> StackState:
        state = wait_until(lambda: (now := self.files.running()) and now.ready and now, READY_SECONDS, "stack ready")
        assert state
        return state

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "compose.cli", *arguments]


@pytest.fixture
def wharf(tmp_path: Path) -> Iterator[Wharf]:
    wharf = Wharf(tmp_path)
    yield wharf
    wharf.run("down", "--wipe")


def alive(pids: set[int]) -> set[int]:
    # A zombie has no command line.
    return {pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_up_shows_every_part_ready_and_data_survives_a_restart(wharf: Wharf) -> None:
    assert "no stack runs" in wharf.run("status", check=False).stderr
    wharf.run("up", "--detach")

    report = wharf.status()
    parts = {part["name"]: part for part in report["components"]}  # type: ignore[attr-defined]
    assert list(parts) == NAMES
    assert all(part["healthy"] for part in parts.values()), parts
    assert report["simulated"] is False
    pids = {part["pid"] for part in parts.values() if part["pid"]}
    assert len(alive(pids)) == 7

    refused = wharf.run("up", check=False)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"error: a stack with pid {report['pid']} runs on {wharf.files.data_dir}; `wharf down` stops it\n"
    )

    wharf.run("instances", "add", "sales-1")
    assert "kafka" in wharf.run("logs", "kafka", "-n", "1").stdout
    ports_before = {name: part["ports"] for name, part in parts.items()}
    assert wharf.run("down").stdout == "stopped\n"
    assert not alive(pids)

    wharf.run("up", "--detach")
    listed = json.loads(wharf.run("instances", "list", "--json").stdout.splitlines()[0])
    assert listed["instance_id"] == "sales-1"
    after = {part["name"]: part["ports"] for part in wharf.status()["components"]}  # type: ignore[attr-defined]
    assert after == ports_before

    wharf.run("down", "--wipe")
    assert not wharf.files.data_dir.exists()


def test_nothing_of_the_real_stack_survives_a_killed_supervisor_and_it_starts_again(wharf: Wharf) -> None:
    process = wharf.start("up")
    state = wharf.until_ready()
    family = set(descendants(state.pid))
    # kafka, registry, clickhouse, registrar, limiter, sink, connector, each with its leash
    assert len(family) >= 14

    os.kill(state.pid, signal.SIGKILL)
    process.communicate(timeout=GONE_SECONDS)

    wait_until(lambda: not alive(family), GONE_SECONDS, "every process of the stack gone")
    again = wharf.start("up")
    wharf.until_ready()
    family = set(descendants(again.pid))
    again.send_signal(signal.SIGINT)
    out, _ = again.communicate(timeout=GONE_SECONDS)
    assert again.returncode == 0
    assert out.endswith("stopped\n")
    assert not alive(family)


def test_each_part_that_is_killed_comes_back(wharf: Wharf) -> None:
    wharf.run("up", "--detach")
    for name in ("connector-1", "sink", "clickhouse", "limiter", "registrar", "registry", "kafka"):
        state = wharf.until_ready()
        before = state.component(name)
        assert before.pid
        os.kill(before.pid, signal.SIGKILL)

        def is_back(name: str = name, restarts: int = before.restarts) -> bool:
            now = wharf.files.running()
            part = now.component(name) if now else None
            return part is not None and part.restarts > restarts and part.state is State.READY

        wait_until(is_back, READY_SECONDS, f"{name} back")
    # All of them work together again: a request is decided. (The clients take their time to find Kafka again.)
    names = (f"after-{n}" for n in itertools.count())
    wait_until(
        lambda: wharf.run("instances", "add", next(names), check=False).returncode == 0, READY_SECONDS, "a decision"
    )


def test_a_port_that_is_set_and_taken_stops_the_start_and_says_by_whom(wharf: Wharf) -> None:

    port = ports.free_port(random.Random(), set())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        wharf.set("WHARF_KAFKA__BOOTSTRAP", f"127.0.0.1:{port}")
        refused = wharf.run("up", check=False)
    assert refused.returncode == 1
    assert f"port {port}, set for kafka, is taken by" in refused.stderr
    assert f"(pid {os.getpid()})" in refused.stderr


def test_an_unknown_setting_stops_the_start_with_the_nearest_name(wharf: Wharf, tmp_path: Path) -> None:
    (tmp_path / "wharf.toml").write_text('[kafka]\nbootstap = "127.0.0.1:9092"\n')
    refused = wharf.run("up", check=False)
    assert refused.returncode == 1
    assert "kafka.bootstap" in refused.stderr
    assert "kafka.bootstrap" in refused.stderr
    (tmp_path / "wharf.toml").unlink()
