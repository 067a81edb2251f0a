"""Faults that tests inject into the loop: given by constructor only, off unless WHARF_ALLOW_FAULTS=1.

`WHARF_TEST_FAULTS` is JSON: {"skip_flush": true, "abort_commits": [3, 7], "crash": {"point": "before_commit", "nth": 5}}.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Point = Literal["before_begin", "before_commit", "after_commit"]


@dataclass(slots=True)
class LoopFaults:
    """No fault by default. Counts are of work transactions, from 1."""

    skip_flush: bool = False
    abort_commits: frozenset[int] = frozenset()
    crash_point: Point | None = None
    crash_nth: int = 1
    _reached: dict[str, int] = field(default_factory=dict)

    def aborts(self) -> bool:
        """True when this commit is to fail as if the group had rebalanced."""
        if not self.abort_commits:
            return False
        self._reached["commit"] = self._reached.get("commit", 0) + 1
        return self._reached["commit"] in self.abort_commits

    def reach(self, point: Point) -> None:
        """Kill this process when it is the chosen point's turn."""
        if self.crash_point != point:
            return
        self._reached[point] = self._reached.get(point, 0) + 1
        if self._reached[point] == self.crash_nth:
            os.kill(os.getpid(), signal.SIGKILL)


def faults_from(environ: Mapping[str, str]) -> LoopFaults:
    """The faults of the environment, none unless they are allowed there."""
    text = environ.get("WHARF_TEST_FAULTS")
    if not text or environ.get("WHARF_ALLOW_FAULTS") != "1":
        return LoopFaults()
    given = json.loads(text)
    crash = given.get("crash")
    if crash is not None and crash["point"] not in get_args(Point):
        raise ValueError(f"no such point: {crash['point']}")
    return LoopFaults(
        skip_flush=bool(given.get("skip_flush", False)),
        abort_commits=frozenset(given.get("abort_commits", ())),
        crash_point=crash["point"] if crash else None,
        crash_nth=int(crash.get("nth", 1)) if crash else 1,
    )
