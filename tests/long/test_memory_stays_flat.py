"""An hour of traffic over 100 sessions: what connector and host hold does not grow.

    make test-long            (or: pytest tests/long/test_memory_stays_flat.py -s)

The benchmark that measures it says what counts as flat; its whole object is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import PREFIX

MINUTES = 60
SECONDS = MINUTES * 60 + 1200
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(SECONDS + 60)
def test_memory_stays_flat(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    command = ["bench", "sessions", "--sessions=100", "--repeat=1", f"--minutes={MINUTES}", "--rate=20", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "compose.cli", *command],
        cwd=ROOT,
        env={**env, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0
    print(done.stdout)
    [growth] = [each for each in json.loads(done.stdout)["targets"] if each["name"] == "growth_mb_per_hour"]
    assert growth["met"], growth
