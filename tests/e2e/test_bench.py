"""Each benchmark once, tiny, on its real stack: it carries through and prints its one object. No figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analytics.queries.named import queries
from core.settings import PREFIX

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]


def bench(tmp_path: Path, *words: str) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(
        [sys.executable, "-m", "compose.cli", "bench", *words, "--json"],
        cwd=ROOT,
        env={**env, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    body: dict[str, Any] = json.loads(line)
    assert set(body) == {"bench", "machine", "figures", "targets"}
    assert body["bench"] == words[0]
    assert body["machine"]["cores"] >= 1
    for target in body["targets"]:
        assert set(target) == {"name", "goal", "value", "met"}
        assert body["figures"][target["name"]] == target["value"]
    # Nothing is left of a run that went well.
    assert not list(tmp_path.glob("wharf-bench-*"))
    return body


def names(body: dict[str, Any]) -> list[str]:
    return [target["name"] for target in body["targets"]]


def test_inbound(tmp_path: Path) -> None:
    body = bench(tmp_path, "inbound", "--sessions=3", "--messages=5", "--repeat=1", "--seconds=1", "--backlog=30")
    assert names(body) == ["cpu_ms_per_message", "half_load_p99_ms", "backlog_messages_per_s"]
    assert body["figures"]["messages"] == 15
    assert body["figures"]["with_analytics"] is False
    assert body["figures"]["bare_cpu_ms_per_message"] > 0


def test_outbound(tmp_path: Path) -> None:
    body = bench(tmp_path, "outbound", "--sessions=3", "--messages=5", "--repeat=1")
    assert names(body) == ["cpu_ms_per_command"]
    assert body["figures"]["commands"] == 15
    assert body["figures"]["cpu_to_bare_ratio"] > 0


def test_sessions(tmp_path: Path) -> None:
    body = bench(tmp_path, "sessions", "--sessions=3", "--repeat=1", "--idle=0.5", "--minutes=0.1", "--rate=5")
    assert names(body) == ["mb_per_session", "cold_start_s"]
    assert body["figures"]["cold_start_s"] > 0
    assert body["figures"]["traffic_messages"] == 60


def test_storm(tmp_path: Path) -> None:
    body = bench(tmp_path, "storm", "--sessions=6", "--live=2", "--rate=10", "--seconds=2", "--repeat=1")
    assert names(body) == ["back_s"]
    assert body["figures"]["cut_off"] == 4
    assert body["figures"]["live_p99_ms"] > 0


def test_sink(tmp_path: Path) -> None:
    body = bench(tmp_path, "sink", "--events=3000", "--repeat=1", "--sinks=2", "--partitions=1")
    assert names(body) == ["sink_to_loop_percent"]
    assert body["figures"]["events"] == 3000
    assert body["figures"]["rows_per_s_of_2_sinks"] > 0


def test_queries(tmp_path: Path) -> None:
    body = bench(tmp_path, "queries", "--events=5000", "--repeat=1")
    assert len(names(body)) == len(queries())
    assert body["figures"]["events"] >= 5000
    assert body["figures"]["bare_scan_ms"] > 0
