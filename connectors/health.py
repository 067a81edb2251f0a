"""Health of the connector: the common checks, and how each instance stands, as the loop's thread last published it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from connectors.session import Phase, Session
from core.telemetry.health import HealthServer
from core.telemetry.metrics import QUEUED_COMMANDS, SESSIONS, Metrics

_STATES = (
    "created",
    "unpaired",
    "pairing",
    "paired",
    "pair_failed",
    "connecting",
    "online",
    "offline",
    "logged_out",
    "replaced",
    "banned",
    "outdated",
    "failed",
    "stopped",
)


class Overview:
    """Made in the loop's thread, swapped in whole, read in the health server's."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.instances: list[dict[str, object]] = []

    def update(self, sessions: Iterable[Session]) -> None:
        rows = [_row(session) for session in sessions]
        counts = Counter(str(row["state"]) for row in rows)
        for state in _STATES:
            self._metrics.gauge(SESSIONS).labels(state=state).set(counts.get(state, 0))
        self._metrics.gauge(QUEUED_COMMANDS).set(sum(int(str(row["queue"])) for row in rows))
        self.instances = rows


def _row(session: Session) -> dict[str, object]:
    status = session.status
    # What the host last said holds only while the host has the session.
    state = "offline" if status.state == "online" and session.phase is not Phase.OPEN else status.state
    return {
        "instance_id": session.instance_id,
        "state": state,
        "simulated": session.simulated,
        "since_ms": status.since_ms,
        "queue": len(session.queue),
        "last_error": session.last_error,
        "epoch": session.epoch,
    }


class ConnectorHealth(HealthServer):
    """/healthz with `instances`."""

    def watch(self, overview: Overview) -> None:
        self._overview = overview

    def report(self) -> tuple[bool, dict[str, object]]:
        healthy, body = super().report()
        return healthy, {**body, "instances": self._overview.instances}
