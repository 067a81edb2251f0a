"""Faults that tests ask of a process: to die or stand still at a named point, to abort commits, to leave a mechanism out,
to have its clock set.

All inert unless WHARF_ALLOW_FAULTS=1. `WHARF_TEST_FAULTS` is JSON:
{"crash": {"point": "before_commit", "nth": 5, "signal": "KILL"}, "abort_commits": [3, 7], "mutants": ["flush"],
"clock": {"after_s": 2, "by_ms": -3600000}, "host": {…}}
`host` is what the session host is given (connectors.faults).

A point is passed by calling `reach` with its name. Mutants exist so that the tests can be seen to find what they look for.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.clock import Clock, StepClock, SystemClock

# In the order in which they are passed. "work" transactions carry a batch.
ConnectorPoint = Literal[
    # A take-over (core.kafka.takeover), then its claim.
    "before_fence",
    "after_fence",
    "after_committed",
    "after_restore",
    "after_claim",
    # The session's new epoch is committed, the host not told.
    "before_open",
    # A work transaction.
    "before_begin",
    "before_commit",
    "after_commit",
    # A partition is handed over: its release is committed, the group not told.
    "after_release",
    # The connector, after a commit: QUEUED is in it, the host not told; SENDING is in it, the host not told; something of
    # the host is in it and not told; told; a final result is in it.
    "after_queued",
    "after_sending",
    "before_durable",
    "after_durable",
    "after_final",
]
# The sink's ledger: batches are due; their ranges are committed as pending; one is inserted; all are; they are done.
SinkPoint = Literal["before_pending", "after_pending", "after_insert", "before_done", "after_done"]
# A rebuild of rollups: staging tables are there; the gate is; it is closed; a table is filled; a partition is replaced; all
# are, the gate still there. Before it a replay: a batch is inserted; all are.
RebuildPoint = Literal[
    "after_replayed",
    "before_rebuild",
    "after_staging",
    "after_gate",
    "after_closed",
    "after_fill",
    "after_replace",
    "before_open",
]
Point = Literal[ConnectorPoint, SinkPoint, RebuildPoint]
# flush: transactions send offsets without a flush. fence: a take-over does not fence the former owner. committed: it does
# not wait for the former owner's transaction. epoch: a session is opened under the epoch it had.
Mutant = Literal["flush", "fence", "committed", "epoch"]
Signal = Literal["KILL", "STOP"]
_KNOWN = {"crash", "abort_commits", "mutants", "clock", "host"}


@dataclass(slots=True)
class Faults:
    """None by default. Counts are from 1."""

    crash_point: Point | None = None
    crash_nth: int = 1
    crash_signal: Signal = "KILL"
    abort_commits: frozenset[int] = frozenset()
    mutants: frozenset[Mutant] = frozenset()
    _passed: int = 0
    _commits: int = 0

    def reach(self, point: Point) -> None:
        """Signal this process when it is the chosen point's turn."""
        if self.crash_point != point:
            return
        self._passed += 1
        if self._passed == self.crash_nth:
            os.kill(os.getpid(), signal.SIGSTOP if self.crash_signal == "STOP" else signal.SIGKILL)

    def aborts(self) -> bool:
        """True when this commit is to fail as if the group had rebalanced."""
        self._commits += 1
        return self._commits in self.abort_commits


def allowed(environ: Mapping[str, str]) -> bool:
    return environ.get("WHARF_ALLOW_FAULTS") == "1"


def asked(environ: Mapping[str, str]) -> dict[str, Any]:
    """The wish as it stands in the environment; empty unless faults are allowed there. ValueError for unknown keys."""
    text = environ.get("WHARF_TEST_FAULTS")
    if not text or not allowed(environ):
        return {}
    given: dict[str, Any] = json.loads(text)
    if unknown := given.keys() - _KNOWN:
        raise ValueError(f"no such faults: {', '.join(sorted(unknown))}")
    return given


def faults_from(environ: Mapping[str, str]) -> Faults:
    """Raises ValueError for a point, signal or mutant that does not exist."""
    given = asked(environ)
    crash = given.get("crash") or {}
    for what, value, known in (
        ("point", crash.get("point", "before_begin"), get_args(Point)),
        ("signal", crash.get("signal", "KILL"), get_args(Signal)),
        *(("mutant", name, get_args(Mutant)) for name in given.get("mutants", ())),
    ):
        if value not in known:
            raise ValueError(f"no such {what}: {value}")
    return Faults(
        crash_point=crash.get("point"),
        crash_nth=int(crash.get("nth", 1)),
        crash_signal=crash.get("signal", "KILL"),
        abort_commits=frozenset(given.get("abort_commits", ())),
        mutants=frozenset(given.get("mutants", ())),
    )


def clock_from(environ: Mapping[str, str]) -> Clock:
    """The process's clock."""
    step = asked(environ).get("clock")
    return SystemClock() if step is None else StepClock(float(step["after_s"]), int(step["by_ms"]))
