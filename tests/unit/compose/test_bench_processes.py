"""What /proc says, as the benchmark reads it."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from compose.bench import processes
from compose.bench.stage import Usage

# A name with everything that makes counting from the left go wrong.
LINE = (
    "4242 (we (ird) 9 name) S 17 4242 4242 0 -1 4194304 100 0 0 0 "
    "250 50 7 7 20 0 12 0 123456 1000000 300 18446744073709551615"
)


def test_stat_of_a_process_with_an_odd_name() -> None:
    found = processes.parse_stat(LINE, ticks=100)
    assert found == processes.Stat(4242, "we (ird) 9 name", 17, 3.0, 1234.56)


def test_resident_memory() -> None:
    assert processes.parse_rss("55e0-7ffd ---p 0 00:00 0 [rollup]\nRss:    2048 kB\nPss:    100 kB\n") == 2048 * 1024
    with pytest.raises(ValueError, match="Rss"):
        processes.parse_rss("Pss:    100 kB\n")


def test_waiting_for_a_processor() -> None:
    assert processes.parse_waited("123456789 2500000000 17\n") == 2.5
    assert processes.waited_s(os.getpid()) >= 0


def test_own_process() -> None:
    mine = processes.stat(os.getpid())
    assert mine.parent == os.getppid()
    assert processes.rss_bytes(os.getpid()) > 1 << 20
    assert processes.started_at(os.getpid()) <= time.time()


def test_child_by_name_and_its_start() -> None:
    before = time.time()
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            # Right after the fork it still has our name.
            while processes.stat(sleeper.pid).name != "sleep":
                time.sleep(0.001)
            assert processes.child(os.getpid(), "sleep") == sleeper.pid
            assert abs(processes.started_at(sleeper.pid) - before) < 5
        finally:
            sleeper.kill()
    assert processes.child(os.getpid(), "sleep") is None


def test_usage_between_two_moments() -> None:
    before = Usage(10.0, {"a": 2.0, "b": 5.0}, {"a": 1.0, "b": 0.0})
    spent = Usage(12.0, {"a": 3.0, "b": 5.5}, {"a": 1.25, "b": 0.5}).since(before)
    assert spent == Usage(2.0, {"a": 1.0, "b": 0.5}, {"a": 0.25, "b": 0.5})
    assert spent.percent("a") == 50.0
    assert spent.ms_per(100, "a", "b") == 15.0
    assert spent.ms_per(100, "b") == 5.0
