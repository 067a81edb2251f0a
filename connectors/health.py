"""Health of the connector: the common checks, what it is to each partition, and how each instance stands, as the loop's
thread last published it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from connectors import advice
from connectors.advice import Advice
from connectors.session import Phase, Session
from core.kafka.roles import PartitionRole
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

    def __init__(self, metrics: Metrics, slot: str) -> None:
        self._metrics = metrics
        self._slot = slot
        self.instances: list[dict[str, object]] = []

    def update(self, sessions: Iterable[Session], now_ms: int) -> None:
        self._publish([{**_row(session, now_ms), "slot": self._slot} for session in sessions])

    def lost(self, sessions: Iterable[Session]) -> None:
        """These were torn down because nothing could be committed; shown so until the next turn, however late it is."""
        torn = {session.instance_id for session in sessions}
        self._publish(
            [
                {**row, "state": "offline", "last_error": "torn down: nothing could be committed"}
                if row["instance_id"] in torn and row["state"] == "online"
                else row
                for row in self.instances
            ]
        )

    def _publish(self, rows: list[dict[str, object]]) -> None:
        counts = Counter(str(row["state"]) for row in rows)
        for state in _STATES:
            self._metrics.gauge(SESSIONS).labels(state=state).set(counts.get(state, 0))
        self._metrics.gauge(QUEUED_COMMANDS).set(sum(int(str(row["queue"])) for row in rows))
        self.instances = rows


def _row(session: Session, now_ms: int) -> dict[str, object]:
    status = session.status
    trouble = _trouble(session, now_ms)
    # What the host last said holds only while the host has the session.
    state = "offline" if status.state == "online" and session.phase is not Phase.OPEN else status.state
    return {
        "instance_id": session.instance_id,
        "state": state,
        "simulated": session.simulated,
        "since_ms": status.since_ms,
        "queue": len(session.queue),
        "last_error": trouble.words or None,
        "next_step": trouble.next_step or None,
        "until_ms": status.until_ms or (status.limit[1] if status.limit else None),
        "undecryptable": session.undecrypted.total,
        "awaited": len(session.undecrypted),
        "partition": session.partition,
        "epoch": session.epoch,
    }


def _trouble(session: Session, now_ms: int) -> Advice:
    """What is wrong and what to do, the state's own trouble first."""
    instance = session.instance
    if instance is not None and instance["desired"] != "online":
        return Advice("", "")
    told = advice.explain(session.status)
    if told is None and session.status.state == "online":
        told = advice.limit(session.status, now_ms)
    if told is not None:
        return told
    words, _, next_step = (session.last_error or "").partition("; ")
    return Advice(words, next_step)


class ConnectorHealth(HealthServer):
    """/healthz with `partitions` and `instances`."""

    def watch(self, overview: Overview, roles: Callable[[], Iterable[PartitionRole]]) -> None:
        self._overview = overview
        self._roles = roles

    def report(self) -> tuple[bool, dict[str, object]]:
        healthy, body = super().report()
        partitions = [role.row() for role in self._roles()]
        return healthy, {**body, "partitions": partitions, "instances": self._overview.instances}
