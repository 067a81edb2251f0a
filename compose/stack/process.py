"""One process on a leash, as its supervisor sees it: told to end, asked for its pid, and noticed when it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
_RECEIVE = 4096


@dataclass(frozen=True, slots=True)
class LogFile:
    path: Path
    max_bytes: int = 10 * 1024 * 1024
    keep: int = 3


class LeashedProcess:
    """Not thread-safe. `fileno()` is readable when there is something to `read()`; `exit_code` is None till the end."""

    def __init__(self, leash: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._leash = leash
        self._control = control
        self._unread = b""
        self._said_exit: int | None = None
        self.leash_pid = leash.pid
        self.pid: int | None = None
        self.exit_code: int | None = None

    @classmethod
    def start(cls, command: Sequence[str], *, log: LogFile, env: Mapping[str, str], cwd: Path) -> LeashedProcess:
        log.path.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(log.path), str(log.max_bytes), str(log.keep), *command]
            try:
                leash = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(LEASH), *arguments],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=dict(env),
                    cwd=cwd,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return cls(leash, ours)

    def fileno(self) -> int:
        return self._control.fileno()

    def read(self) -> None:
        """Take in what the leash has said."""
        while self.exit_code is None:
            try:
                data = self._control.recv(_RECEIVE)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self._ended()
                return
            self._unread += data
            *lines, self._unread = self._unread.split(b"\n")
            for line in lines:
                message = json.loads(line)
                self.pid = message.get("pid", self.pid)
                self._said_exit = message.get("exit", self._said_exit)

    def terminate(self) -> None:
        """Ask the command to end in order."""
        self._order(b"T")

    def kill(self) -> None:
        """End the command and everything below it now."""
        self._order(b"K")

    def wait(self, seconds: float) -> int | None:
        """Block until it has ended or the time is up."""
        deadline = time.monotonic() + seconds
        self.read()
        while self.exit_code is None and (left := deadline - time.monotonic()) > 0:
            select.select([self._control], [], [], left)
            self.read()
        return self.exit_code

    def stop(self, seconds: float) -> int | None:
        """Terminate, and kill what has not ended in time."""
        self.terminate()
        if self.wait(seconds) is None:
            self.kill()
            self.wait(seconds)
        return self.exit_code

    def _order(self, order: bytes) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ConnectionError):  # it ended meanwhile; read() tells
                self._control.send(order)

    def _ended(self) -> None:
        # What the leash did not get to kill (somebody killed *it*) is in its process group still.
        if self._said_exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leash.pid, signal.SIGKILL)
        code = self._leash.wait()
        self.exit_code = self._said_exit if self._said_exit is not None else 128 + abs(code)
        self._control.close()
