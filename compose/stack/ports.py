"""Ports of the local stack: free ones where nothing is set, and who holds one that is taken."""

from __future__ import annotations

import random
import socket
from pathlib import Path

# Below the range of outgoing connections, one of which could snatch a port before its owner binds it.
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(rng: random.Random, taken: set[int], host: str = "127.0.0.1") -> int:
    """A port nobody listens on and that is not among `taken`."""
    while True:
        port = rng.randrange(_FIRST, _LAST)
        if port not in taken and is_free(port, host):
            return port


def holder(port: int) -> str | None:
    """`name (pid N)` of the process that listens on a port, None if that cannot be seen."""
    pid = holder_pid(port)
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})" if pid else None
    except OSError:
        return None  # it ended while we looked


def holder_pid(port: int) -> int | None:
    """The process that listens on a port, None if that cannot be seen."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(_target(fd) in inodes for fd in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue  # another user's, or it ended while we looked
    return None


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""  # closed while we looked


def _listening_inodes(port: int) -> set[str]:
    listen = "0A"
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == listen and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
