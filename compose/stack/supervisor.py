"""Starts components in dependency order, starts again what dies, and ends all of them in reverse order.

Everything happens in the event loop of one thread, which lives as long as the process: children are spawned from it.
`StackState` is written at every change; that file is all that other processes see.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compose.stack import ports
from compose.stack.component import Component, State, levels
from compose.stack.leash import descendants
from compose.stack.probes import Health
from compose.stack.process import LeashedProcess, LogFile
from compose.stack.restarts import Restarts
from compose.stack.state import ComponentState, StackFiles, StackState

PROBE_PAUSE = 0.05
FOREIGN_PAUSE = 1.0
KILL_SECONDS = 2.0
_TAIL_BYTES = 8000
# Less than Kafka's index files want at once; programs that map files die of it with words nobody understands.
_FULL_BYTES = 16 << 20


@dataclass(slots=True)
class _Part:
    """One component while the stack runs."""

    component: Component
    shown: ComponentState
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: LeashedProcess | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """`on_change` is told of every change of a component's state; `next_env` adds to the environment of one start."""

    def __init__(
        self,
        components: Sequence[Component],
        files: StackFiles,
        *,
        cwd: Path,
        env: Mapping[str, str],
        settings: Mapping[str, str],
        simulated: bool = False,
        on_change: Callable[[ComponentState], None] = lambda _state: None,
        next_env: Callable[[str], Mapping[str, str]] = lambda _name: {},
        restarts: Restarts | None = None,
    ) -> None:
        self._levels = levels(components)
        self._files = files
        self._cwd = cwd
        self._env = env
        self._on_change = on_change
        self._next_env = next_env
        self._restarts = Restarts() if restarts is None else restarts
        self._parts = {
            component.name: _Part(
                component,
                ComponentState(
                    component.name,
                    State.WAITING,
                    component.address,
                    component.health_url,
                    dict(component.ports),
                    log="" if component.external else str(files.log(component.name)),
                ),
            )
            for component in components
        }
        self.state = StackState(
            pid=os.getpid(),
            started_ms=time.time_ns() // 1_000_000,
            simulated=simulated,
            settings=dict(settings),
            components=[part.shown for part in self._parts.values()],
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then everything has ended when this returns, also after an error."""
        self._files.write_state(self.state)
        keepers = [asyncio.create_task(self._keep(part), name=part.component.name) for part in self._parts.values()]
        stopping = asyncio.create_task(stop.wait())
        try:
            # A keeper never returns; if one raises, that is our own error and ends the stack.
            done, _ = await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopping, *keepers):
                task.cancel()
            await asyncio.gather(stopping, *keepers, return_exceptions=True)
            await self._stop_all()

    async def _keep(self, part: _Part) -> None:
        component = part.component
        for need in component.needs:
            await self._parts[need].ready.wait()
        if component.external:
            await self._watch_external(part)
            return
        restarts = self._restarts
        if component.prepare:
            await asyncio.to_thread(component.prepare)
        while True:
            ready_since = await self._run_once(part)
            if part.shown.state is State.DONE:
                await asyncio.Event().wait()
            ready_seconds = 0.0 if ready_since is None else time.monotonic() - ready_since
            restarts, pause = restarts.after_death(ready_seconds)
            part.shown.restarts += 1
            self._show(part, State.RESTARTING, error=self._last_words(part))
            await asyncio.sleep(pause)

    async def _run_once(self, part: _Part) -> float | None:
        """Start it and wait for its end; when it became ready, if it did."""
        component = part.component
        part.ended.clear()
        part.process = process = LeashedProcess.start(
            component.command,
            log=LogFile(self._files.log(component.name)),
            env={**self._env, **component.env, **self._next_env(component.name)},
            cwd=self._cwd,
        )
        asyncio.get_running_loop().add_reader(process.fileno(), self._read, part, process)
        self._show(part, State.STARTING)
        ready_since = await self._wait_ready(part)
        await part.ended.wait()
        part.ready.clear()
        if component.one_shot and process.exit_code == 0:
            self._show(part, State.DONE)
            part.ready.set()
        return ready_since

    async def _wait_ready(self, part: _Part) -> float | None:
        if part.component.one_shot:
            return None
        while not part.ended.is_set():
            health = await self._probe(part)
            if health.ready and not part.ended.is_set():
                if (error := await asyncio.to_thread(_foreign_port, part)) and not part.ended.is_set():
                    self._show(part, State.STARTING, error=error)
                    await asyncio.sleep(FOREIGN_PAUSE)
                    continue
                part.ready.set()
                self._show(part, State.READY)
                return time.monotonic()
            await asyncio.sleep(PROBE_PAUSE)
        return None

    async def _watch_external(self, part: _Part) -> None:
        while True:
            health = await self._probe(part)
            if health.ready:
                if not part.ready.is_set():
                    self._show(part, State.EXTERNAL)
                part.ready.set()
            else:
                error = health.error or "not ready"
                if part.shown.state is not State.WAITING or part.shown.error != error:
                    self._show(part, State.WAITING, error=error)
                part.ready.clear()
            await asyncio.sleep(1.0)

    async def _probe(self, part: _Part) -> Health:
        probe = part.component.probe
        return Health(True) if probe is None else await asyncio.to_thread(probe)

    def _read(self, part: _Part, process: LeashedProcess) -> None:
        descriptor = process.fileno()
        process.read()
        if process.exit_code is not None:
            # Its socket is closed already; the loop must forget the number before somebody else gets it.
            asyncio.get_running_loop().remove_reader(descriptor)
            part.ended.set()
        if process.pid != part.shown.pid and part.process is process:
            part.shown.pid = process.pid
            self._files.write_state(self.state)

    def _show(self, part: _Part, state: State, error: str = "") -> None:
        part.shown.state = state
        part.shown.error = error
        if state in (State.RESTARTING, State.DONE, State.STOPPED):
            part.shown.pid = None
        self._files.write_state(self.state)
        self._on_change(part.shown)

    def _last_words(self, part: _Part) -> str:
        code = part.process.exit_code if part.process else None
        how = f"killed by signal {code - 128}" if code and code > 128 else f"exit code {code}"
        if part.component.folder is not None and _is_full(part.component.folder):
            return f"{how}: no space left on the disk of {part.component.folder}"
        lines = [line for line in _tail(self._files.log(part.component.name)) if not _is_of_a_trace(line)]
        return f"{how}: {lines[-1]}" if lines else how

    async def _stop_all(self) -> None:
        for level in reversed(self._levels):
            await asyncio.gather(*(self._stop(self._parts[component.name]) for component in level))

    async def _stop(self, part: _Part) -> None:
        process = part.process
        if process is not None and process.exit_code is None:
            process.terminate()
            if not await _within(part.ended, part.component.stop_seconds):
                process.kill()
                await _within(part.ended, KILL_SECONDS)
        if not part.component.external:
            self._show(part, State.STOPPED)


def _foreign_port(part: _Part) -> str:
    """Who else answers on a port of this component: a stranger's answer does not make it ready."""
    ours = set(descendants(part.process.leash_pid)) if part.process else set()
    for port in part.component.ports.values():
        pid = ports.holder_pid(port)
        if pid is not None and pid not in ours:
            return f"port {port} is taken by {ports.holder(port) or f'pid {pid}'}"
    return ""


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BYTES
    except FileNotFoundError:
        return False


def _is_of_a_trace(line: str) -> bool:
    """The frames of a Java stack trace come after what it is about."""
    return line.startswith(("at ", "... "))


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return []
