"""Every fault of the mix once, on a real stack with two connectors under load: nothing is lost, doubled or out of order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compose.chaos.schedule import MIX
from core.settings import PREFIX
from core.verdict import KINDS

ROOT = Path(__file__).parents[2]
SEED = 5


@pytest.mark.timeout(900)
def test_every_fault_once(tmp_path: Path) -> None:
    log = tmp_path / "faults.jsonl"
    done = wharf(tmp_path, "chaos", "tour", f"--seed={SEED}", "--sessions=6", "--rate=15", f"--log={log}", "--json")
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    body: dict[str, Any] = json.loads(line)
    assert set(body) == {"chaos", "seed", "minutes", "commit", "machine", "figures", "targets"}
    assert (body["chaos"], body["seed"]) == ("tour", SEED)
    figures = body["figures"]
    assert {kind: figures[kind] for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert set(figures["faults"]) == set(MIX)
    assert figures["kills"] == sum(figures["kills_by_target"].values()) > 0
    assert figures["commands"] == figures["messages_received"] > 0
    assert figures["messages_in"] > 0
    head, *faults = [json.loads(line) for line in log.read_text().splitlines()]
    assert head == {name: body[name] for name in ("chaos", "seed", "minutes", "commit")}
    assert len(faults) == len(MIX)
    # Nothing is left of a run that went well.
    assert not list(tmp_path.glob("wharf-chaos-*"))


def wharf(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "compose.cli", *words],
        cwd=ROOT,
        env={**env, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )


def test_a_mutant_is_refused_where_faults_are_not_allowed(tmp_path: Path) -> None:
    done = wharf(tmp_path, "chaos", "mix", "--mutant=fence")
    assert done.returncode == 2
    assert "WHARF_ALLOW_FAULTS=1" in done.stderr


def test_an_unknown_experiment_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = wharf(tmp_path, "chaos", "mixx")
    assert done.returncode == 2
    assert "kill-connector" in done.stderr
