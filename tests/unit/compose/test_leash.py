"""One process on its leash: log with rotation, exit codes, orders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from compose.stack.process import LeashedProcess, LogFile
from tests.support.waiting import wait_until

SECONDS = 15


def start(tmp_path: Path, code: str, **log: int) -> tuple[LeashedProcess, Path]:
    path = tmp_path / "logs" / "x.log"
    command = [sys.executable, "-c", code]
    return LeashedProcess.start(command, log=LogFile(path, **log), env=os.environ, cwd=tmp_path), path


@pytest.mark.parametrize(
    ("code", "expected"), [("pass", 0), ("raise SystemExit(7)", 7), ("import os; os.abort()", 134)]
)
def test_tells_the_exit_code(tmp_path: Path, code: str, expected: int) -> None:
    process, _ = start(tmp_path, code)
    assert process.wait(SECONDS) == expected


def test_a_command_that_is_not_there_says_so_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    process = LeashedProcess.start(["no-such-program"], log=LogFile(path), env=os.environ, cwd=tmp_path)
    assert process.wait(SECONDS) == 127
    assert "no-such-program" in path.read_text()


def test_log_has_both_streams_and_everything_written_before_the_end(tmp_path: Path) -> None:
    process, path = start(tmp_path, "import sys; print('out' * 50000); print('err', file=sys.stderr)")
    assert process.wait(SECONDS) == 0
    text = path.read_text()
    assert text.count("out") == 50000
    assert "err" in text


def test_log_moves_aside_at_its_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(2000): print(f'{n:08d}' + 'x' * 91, flush=True)"
    process, path = start(tmp_path, code, max_bytes=60_000, keep=2)
    assert process.wait(SECONDS) == 0
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["x.log", "x.log.1", "x.log.2"]
    assert all(file.stat().st_size <= 60_000 + 65_536 for file in files)
    text = "".join((path.parent / name).read_text() for name in ("x.log.2", "x.log.1", "x.log"))
    kept = [int(line[:8]) for line in text.splitlines()]
    assert kept == list(range(kept[0], 2000))


def test_terminate_lets_the_command_end_in_order(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(5)))\n"
        "print('up', flush=True)\ntime.sleep(1000)"
    )
    process, path = start(tmp_path, code)
    wait_until(lambda: path.exists() and "up\n" in path.read_text(), SECONDS, "started")
    process.terminate()
    assert process.wait(SECONDS) == 5
    assert path.read_text() == "up\nbye\n"


def test_stop_kills_what_does_not_end_in_time(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"
    )
    process, path = start(tmp_path, code)
    wait_until(lambda: path.exists() and "up\n" in path.read_text(), SECONDS, "started")
    process.stop(0.3)
    assert process.exit_code == 137


def test_asking_without_waiting_sees_an_end(tmp_path: Path) -> None:
    process, _ = start(tmp_path, "pass")
    wait_until(lambda: process.wait(0) is not None, SECONDS, "seen")
    assert process.exit_code == 0
