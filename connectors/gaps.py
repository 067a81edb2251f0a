"""Gaps: what may have been missed is told as an event of its own (design, invariant 9).

Three things make one: a message that could not be decrypted and has not come again in time; a time in which another
client had the session, or in which there was no device; and, told by the host, fewer messages in WhatsApp's queue than
it announced.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from connectors.session import Session
from connectors.undecrypted import as_dicts
from core.telemetry.metrics import GAPS

KIND = "session.gap"
# What others got instead of us while the session was in one of these states is not delivered again.
AWAY = frozenset({"replaced", "logged_out"})


def overdue(session: Session, now_ms: int) -> None:
    """Undecryptable messages that were not followed up in time."""
    late = session.undecrypted.overdue(now_ms)
    if late:
        _emit(session, "undecryptable", {"messages": len(late)}, {"messages": as_dicts(late)}, now_ms)


def back_online(session: Session, now_ms: int) -> None:
    """The time away ends here."""
    away = session.status.away
    if away is None:
        return
    reason, since_ms = away
    _emit(session, reason, {"away_ms": max(0, now_ms - since_ms)}, {"since_ms": since_ms, "until_ms": now_ms}, now_ms)
    session.become(replace(session.status, away=None))


def _emit(session: Session, reason: str, counts: dict[str, int], details: dict[str, object], now_ms: int) -> None:
    session.metrics.counter(GAPS).labels(reason=reason).inc()
    session.emit(
        "events.session",
        KIND,
        {"kind": KIND, "state": "gap", "reason": reason, "counts": counts, "details": orjson.dumps(details).decode()},
        subject="gap",
        now_ms=now_ms,
    )
