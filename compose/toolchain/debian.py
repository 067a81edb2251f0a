"""Debian packages that only the tests need, installed where apt is there and may be used; elsewhere it is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# program the tests run → package that has it
TEST_PROGRAMS = {
    "kcat": "kcat",
    "strace": "strace",
    "clickhouse-client": "clickhouse-client",
    "clickhouse-server": "clickhouse-server",
}


def missing() -> list[str]:
    return sorted({package for program, package in TEST_PROGRAMS.items() if shutil.which(program) is None})


def install(packages: list[str]) -> int:
    """0 when they are there afterwards; the tests that need one say so if it is not."""
    apt = shutil.which("apt-get")
    become_root = [] if os.geteuid() == 0 else [sudo, "-n"] if (sudo := shutil.which("sudo")) else None
    if apt is None or become_root is None:
        sys.stderr.write(f"please install for the tests: {' '.join(packages)} (no apt-get, or no right to use it)\n")
        return 1
    command = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive", apt, "-qq"]
    subprocess.call([*command, "update"], stdout=subprocess.DEVNULL)
    return subprocess.call([*command, "install", "-y", "--no-install-recommends", *packages], stdout=subprocess.DEVNULL)
