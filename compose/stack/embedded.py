"""A whole stack as a child of this process, gone with it: what the demo and the end-to-end tests run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from compose.stack import lifecycle
from compose.stack.process import LeashedProcess, LogFile
from compose.stack.state import ComponentState, StackFiles, StackState
from core.settings import Settings

STOP_SECONDS = 10.0


class EmbeddedStack:
    """Entering starts it and waits until it is ready; `simulate` instances pair by themselves on the way. With `only`, these
    components and what they need."""

    def __init__(
        self,
        data_dir: Path,
        *,
        simulate: int,
        connectors: int = 1,
        only: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        on_change: Callable[[ComponentState], None] = lambda _part: None,
    ) -> None:
        self.files = StackFiles(data_dir.absolute())
        self._simulate = simulate
        self._connectors = connectors
        self._only = only
        self._env = dict(os.environ if env is None else env)
        self._on_change = on_change
        self._supervisor: LeashedProcess | None = None

    def __enter__(self) -> EmbeddedStack:
        lifecycle.clear_for_start(self.files)
        self._supervisor = supervisor = LeashedProcess.start(
            lifecycle.command(self.files.data_dir, self._simulate, self._connectors, self._only),
            log=LogFile(self.files.log("supervisor")),
            env=self._env,
            cwd=self.files.data_dir,
        )
        try:
            lifecycle.wait_ready(self.files, lambda: supervisor.wait(0) is not None, self._on_change)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.stop(STOP_SECONDS)

    @property
    def state(self) -> StackState:
        state = self.files.running()
        if state is None:
            raise RuntimeError(f"the stack has ended; the logs are in {self.files.logs}")
        return state

    @property
    def settings(self) -> Settings:
        """Those of its processes, so that clients find the same Kafka."""
        environ = {**self._env, "WHARF_DATA_DIR": str(self.files.data_dir)}
        return lifecycle.load_attached_settings(environ, self.files.data_dir)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a further process that belongs to it."""
        return {**self._env, **self.state.settings}

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send the process of a component a signal; its pid."""
        pid = self.state.component(name).pid
        if pid is None:
            raise RuntimeError(f"{name} has no process now")
        os.kill(pid, number)
        return pid
