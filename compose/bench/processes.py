"""What the kernel says of processes: processor time, memory, parents. Linux only: it reads /proc."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat. `started_s` counts from the machine's start."""

    pid: int
    name: str
    parent: int
    cpu_s: float
    started_s: float


def parse_stat(line: str, ticks: int = _TICKS) -> Stat:
    """The name stands in parentheses and may hold any character, so fields are counted from the last one on."""
    head, _, rest = line.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = rest.split()
    return Stat(
        pid=int(pid),
        name=name,
        parent=int(fields[1]),
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks,
        started_s=int(fields[19]) / ticks,
    )


def parse_rss(smaps_rollup: str) -> int:
    """Resident bytes; the counters of /proc/PID/stat are off by some pages for each thread."""
    for line in smaps_rollup.splitlines():
        name, _, value = line.partition(":")
        if name == "Rss":
            return int(value.split()[0]) * 1024
    raise ValueError("no Rss in smaps_rollup")


def stat(pid: int) -> Stat:
    return parse_stat((PROC / str(pid) / "stat").read_text())


def rss_bytes(pid: int) -> int:
    return parse_rss((PROC / str(pid) / "smaps_rollup").read_text())


def parse_waited(schedstat: str) -> float:
    """Seconds in which a thread could have run and had no processor: on a busy machine that is most of any delay."""
    return int(schedstat.split()[1]) / 1e9


def waited_s(pid: int) -> float:
    """All threads that live now."""
    total = 0.0
    for task in (PROC / str(pid) / "task").iterdir():
        try:
            total += parse_waited((task / "schedstat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def child(parent: int, name: str) -> int | None:
    """The pid of a process's child of that name."""
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                found = stat(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if found.parent == parent and found.name == name:
                return found.pid
    return None


def started_at(pid: int) -> float:
    """Epoch seconds at which a process was started, to a hundredth."""
    boot = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    uptime = float((PROC / "uptime").read_text().split()[0])
    # btime has whole seconds only; the difference to the clock gives the rest.
    now = datetime.now(UTC).timestamp()
    assert abs(now - uptime - int(boot.split()[1])) < 60, "the clock was set since the machine started"
    return now - uptime + stat(pid).started_s


def machine() -> dict[str, Any]:
    """Where the figures were made, and how busy it was before."""
    info = (PROC / "cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load_before": list(os.getloadavg()),
        "date": datetime.now(UTC).date().isoformat(),
    }
