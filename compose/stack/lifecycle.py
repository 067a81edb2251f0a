"""Starting, finding and stopping a stack: what `wharf up`, `wharf down` and the tests do."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compose.stack import table
from compose.stack.component import StackError, State
from compose.stack.restarts import LONGEST_PAUSE, Restarts
from compose.stack.state import ComponentState, StackFiles, StackState
from compose.stack.supervisor import Supervisor
from core.settings import Settings, env_name, load_settings

READY_SECONDS = 120.0
STOP_SECONDS = 12.0
POLL_SECONDS = 0.1
# What a stack keeps in its data directory; `wipe` removes these and nothing else.
OWNED = ("kafka", "clickhouse", "simulator", "limiter", "registrar", "registry", "logs", "stack", "keys.json")


def run(
    settings: Settings,
    *,
    simulate: int,
    connectors: int,
    only: Sequence[str],
    environ: Mapping[str, str],
    on_change: Callable[[ComponentState], None],
    on_note: Callable[[str], None],
    on_ready: Callable[[StackState], None],
) -> None:
    """Run the stack in this process until SIGINT or SIGTERM."""
    files = StackFiles(settings.data_dir.absolute())
    with files.locked():
        plan = table.plan(
            settings,
            simulate=simulate,
            connectors=connectors,
            remembered=files.remembered_ports(),
            rng=random.Random(),
            only=only,
        )
        files.remember_ports(dict(plan.ports))
        for note in plan.notes:
            on_note(note)
        told = False

        def changed(part: ComponentState) -> None:
            nonlocal told
            on_change(part)
            if supervisor.state.ready and not told:
                told = True
                on_ready(supervisor.state)

        supervisor = Supervisor(
            plan.components,
            files,
            cwd=Path.cwd(),
            env=environ,
            settings=plan.env,
            simulated=any(component.name == "simulator" for component in plan.components),
            on_change=changed,
            # A test makes a process die at a chosen point once: the start after that is a plain one.
            next_env=files.take_next_env if environ.get("WHARF_ALLOW_FAULTS") == "1" else lambda _name: {},
            # Where processes are killed on purpose every few seconds, none of them is to be blamed for it.
            restarts=Restarts(longest=float(environ.get("WHARF_TEST_LONGEST_PAUSE", LONGEST_PAUSE))),
        )
        asyncio.run(until_signalled(supervisor))


async def until_signalled(supervisor: Supervisor) -> None:
    """Run until this process is told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await supervisor.run(stop)


def command(data_dir: Path, simulate: int, connectors: int, only: Sequence[str]) -> list[str]:
    """The command line of a supervisor in a process of its own; settings come by its environment."""
    counts = ("--simulate", str(simulate), "--connectors", str(connectors))
    names = [word for name in only for word in ("--only", name)]
    return [sys.executable, "-m", "compose.cli", "up", "--data", str(data_dir), *counts, *names]


def start_detached(
    settings: Settings,
    *,
    simulate: int,
    connectors: int,
    only: Sequence[str],
    on_change: Callable[[ComponentState], None],
) -> StackState:
    """Start a supervisor that outlives this process and wait until its stack is ready."""
    files = StackFiles(settings.data_dir.absolute())
    clear_for_start(files)
    with files.log("supervisor").open("ab") as log:
        supervisor = subprocess.Popen(
            command(files.data_dir, simulate, connectors, only),
            # What the command line of this process has decided.
            env=os.environ | {env_name("clickhouse.enabled"): str(settings.clickhouse.enabled).lower()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return wait_ready(files, lambda: supervisor.poll() is not None, on_change)
    except BaseException:
        stop(files)
        raise


def clear_for_start(files: StackFiles) -> None:
    """Refuse where a stack runs; else forget the last one's state, so that what is read next is the new one's."""
    with files.locked():
        files.forget_state()
    files.logs.mkdir(parents=True, exist_ok=True)


def wait_ready(
    files: StackFiles,
    has_ended: Callable[[], bool],
    on_change: Callable[[ComponentState], None],
    seconds: float = READY_SECONDS,
) -> StackState:
    """Wait for the stack of another process, telling every change."""
    shown: dict[str, tuple[State, str]] = {}
    deadline = time.monotonic() + seconds
    while True:
        if has_ended():
            raise StackError(f"the stack did not start: {_last_line(files.log('supervisor'))}")
        state = files.last_state()
        for part in state.components if state else ():
            if shown.get(part.name) != (part.state, part.error):
                shown[part.name] = (part.state, part.error)
                on_change(part)
        if state and state.ready:
            return state
        if time.monotonic() > deadline:
            waiting = (
                [f"{part.name} ({part.error or part.state})" for part in state.components if not part.ready]
                if state
                else []
            )
            raise StackError(
                f"not ready in {seconds:.0f} s: {', '.join(waiting) or 'all'}; the logs are in {files.logs}"
            )
        time.sleep(POLL_SECONDS)


def stop(files: StackFiles) -> bool:
    """Stop the stack that runs here, if one does; nothing of it is left when this returns."""
    state = files.running()
    if state is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.kill(state.pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if files.running() is None:
                return True
            time.sleep(POLL_SECONDS)
    raise StackError(f"the supervisor with pid {state.pid} does not end")


def wipe(files: StackFiles) -> list[str]:
    """Remove what stacks have written here; what is left, because it is not ours."""
    with files.locked():
        for name in OWNED:
            path = files.data_dir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    left = sorted(path.name for path in files.data_dir.iterdir())
    if not left:
        files.data_dir.rmdir()
    return left


def load_attached_settings(environ: Mapping[str, str], directory: Path) -> Settings:
    """The settings of a command: where a stack runs on their data directory, that stack's addresses."""
    settings = load_settings(environ, directory)
    state = StackFiles((directory / settings.data_dir).absolute()).running()
    return load_settings({**state.settings, **environ}, directory) if state else settings


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it said nothing (see {log})"
