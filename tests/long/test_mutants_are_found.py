"""`wharf chaos` finds what comes of a mechanism left out: each mutant's kinds of violations, or the goal it misses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.settings import PREFIX
from core.verdict import DOUBLE_OWNERSHIP, KINDS

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parents[2]
SEED = 3
STOOD_STILL = "stand_still_failover_p99_s"


def chaos(tmp_path: Path, *words: str) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(
        [sys.executable, "-m", "compose.cli", "chaos", *words, f"--seed={SEED}", "--sessions=6", "--json"],
        cwd=ROOT,
        env={**env, "TMPDIR": str(tmp_path), "WHARF_ALLOW_FAULTS": "1"},
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    [line] = done.stdout.splitlines()
    report: dict[str, Any] = json.loads(line)
    report["found"] = {kind for kind in KINDS if report["figures"][kind]}
    assert done.returncode == (1 if report["found"] else 0), done.stderr
    return report


def met(report: dict[str, Any], goal: str) -> bool:
    [target] = [each for each in report["targets"] if each["name"] == goal]
    return bool(target["met"])


def test_a_session_that_keeps_its_epoch(tmp_path: Path) -> None:
    assert DOUBLE_OWNERSHIP in chaos(tmp_path, "kill-connector", "--mutant=epoch", "--minutes=0.4")["found"]


def test_a_take_over_in_the_middle_of_a_commit_is_quick(tmp_path: Path) -> None:
    """With the same seed as below, so that what is missed there is the mutant's doing."""
    report = chaos(tmp_path, "stale-commit", "--minutes=0.4")
    assert (report["found"], met(report, STOOD_STILL)) == (set(), True)
    assert report["figures"]["stand_still_failover_count"] > 0


@pytest.mark.parametrize("mutant", ["fence", "fence,committed"])
def test_a_take_over_that_does_not_fence_is_late(tmp_path: Path, mutant: str) -> None:
    """It waits until the former owner's transaction ends, for its offsets or for its state; a fence ends it at once."""
    assert not met(chaos(tmp_path, "stale-commit", f"--mutant={mutant}", "--minutes=0.4"), STOOD_STILL)
