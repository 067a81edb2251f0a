"""Runs one command so that neither it nor anything it started can outlive the supervisor, and keeps its log.

    leash.py CONTROL_FD LOG MAX_BYTES KEEP COMMAND...

CONTROL_FD is one end of a socket pair. The supervisor's end is the lifeline: the kernel closes it however the
supervisor dies, and at its end the leash kills everything below itself. (A parent-death signal alone would not do: it
fires when the spawning *thread* ends, and reaches no grandchildren.) Over the socket the supervisor says `T` (terminate
the command) or `K` (kill everything); the leash says {"pid": n} once and {"exit": code} at the end.
Orphaned grandchildren come back to the leash, which is a child subreaper, and die when the command has ended.
Standard library only, run with `-I -S`, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from typing import BinaryIO

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
DRAIN_SECONDS = 1.0
CHUNK = 65536


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Log:
    """An append-only file that moves aside to `.1`, `.2` … when it has reached its size."""

    def __init__(self, path: str, max_bytes: int, keep: int) -> None:
        self._path, self._max, self._keep = path, max_bytes, keep
        self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the process
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        if self._size + len(data) > self._max and (line_end := data.find(b"\n") + 1):
            # Lines are not cut: the one that has begun ends in the old file.
            self._file.write(data[:line_end])
            self._rotate()
            data = data[line_end:]
        self._file.write(data)
        self._size += len(data)

    def _rotate(self) -> None:
        self._file.close()
        for n in range(self._keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self._path}.{n}", f"{self._path}.{n + 1}")
        if self._keep > 0:
            os.replace(self._path, f"{self._path}.1")
        else:
            os.unlink(self._path)
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        self._size = 0


def descendants(root: int) -> list[int]:
    """Every process below `root`, by the parents that /proc tells."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _reap(child: int) -> int | None:
    """Collect what has ended; the command's exit code (128 + signal if killed) once it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def _kill_all(child: int) -> int | None:
    """Kill everything below until nothing is left: what forks while we look is found in the next round."""
    code = None
    while pids := descendants(os.getpid()):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended = _reap(child)
        code = ended if ended is not None else code
        if pids:
            time.sleep(0.002)
    return code


def _spawn(command: list[str], output: int) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        # The leash has one thread that lives as long as it does, so the signal means what it says.
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(command[0], command)  # noqa: S606 - no shell is meant
    except OSError as error:
        os.write(2, f"leash: cannot run {command[0]}: {error}\n".encode())
    os._exit(127)


def main(arguments: list[str]) -> int:
    control = socket.socket(fileno=int(arguments[0]))
    log = Log(arguments[1], int(arguments[2]), int(arguments[3]))
    command = arguments[4:]

    os.setsid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    # Only the supervisor ends a leash: a stray signal must not cut the lifeline.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    child = _spawn(command, out_write)
    os.close(out_write)
    os.set_blocking(out_read, False)
    _say(control, {"pid": child})

    code = None
    poll = select.poll()
    for fd in (control.fileno(), wake_read, out_read):
        poll.register(fd, select.POLLIN)
    while code is None:
        for fd, _events in poll.poll():
            if fd == out_read:
                if not _pump(out_read, log):
                    poll.unregister(out_read)
            elif fd == wake_read:
                os.read(wake_read, CHUNK)
                code = _reap(child)
            else:
                code = _obey(control, child)

    _kill_all(child)
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and _pump(out_read, log):
        select.select([out_read], [], [], 0.05)
    _say(control, {"exit": code})
    return code


def _obey(control: socket.socket, child: int) -> int | None:
    try:
        order = control.recv(1)
    except ConnectionError:
        order = b""
    if order == b"T":
        os.kill(child, signal.SIGTERM)  # not reaped yet, so the number is still its own
        return None
    return _kill_all(child) or 0


def _pump(source: int, log: Log) -> bool:
    """Move what is there into the log; False once no writer is left."""
    try:
        data = os.read(source, CHUNK)
    except BlockingIOError:
        return True
    if data:
        log.write(data)
    return bool(data)


def _say(control: socket.socket, message: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the supervisor is gone
        control.send(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
