"""States of a session, pairing's outcome, and what may have been missed."""

from __future__ import annotations

from typing import Any

from connectors import gaps
from connectors.contents import identity
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import limit
from connectors.sends import Problem
from connectors.session import Session
from connectors.state_items import open_all
from connectors.status import MOMENTS, Status
from core.telemetry.metrics import GAPS

_STATE = pb.SessionState.State
# Kind of the event and symbol of wharf.SessionStateKind, where they are not the state's own name.
_NAMES = {
    _STATE.STREAM_ERROR: ("session.stream_error", "unknown"),
    _STATE.RESTART_REQUIRED: ("session.restart_required", "unknown"),
}
_ENDED = frozenset({"offline", "logged_out", "replaced", "banned", "outdated", "failed", "unpaired"})


def handle(session: Session, event: pb.Event, now_ms: int) -> None:
    state = event.state
    own_name = _STATE.Name(state.state).lower()
    kind, symbol = _NAMES.get(state.state, (f"session.{own_name}", own_name))
    account = identity(state.self)
    _follow(session, state, symbol, account, event.received_at_ms or now_ms, now_ms)
    session.emit(
        "events.session",
        kind,
        {
            "kind": kind,
            "state": symbol,
            "reason_code": state.reason_code or None,
            "reason": state.reason or None,
            "self": account,
            "platform": state.platform or None,
            "business_name": state.business_name or None,
            "expires_at": state.expires_at_ms or None,
            "counts": dict(state.counts),
            "command_id": state.command_id or None,
        },
        received_at=event.received_at_ms,
        origin=event.origin,
        subject=symbol,
        now_ms=now_ms,
    )


def announce(session: Session, state: str, reason: str, now_ms: int, *, blocked: bool = False) -> None:
    """A state that this process brought about or noticed, not the host."""
    change(session, state, reason, now_ms, blocked=blocked)
    session.emit(
        "events.session",
        f"session.{state}",
        {"kind": f"session.{state}", "state": state, "reason": reason},
        subject=state,
        now_ms=now_ms,
    )


def change(
    session: Session,
    state: str,
    reason: str | None,
    now_ms: int,
    *,
    until_ms: int | None = None,
    account: dict[str, Any] | None = None,
    blocked: bool = False,
    reason_code: int = 0,
) -> None:
    instance, before = session.instance, session.status
    session.become(
        Status(
            state,
            reason,
            now_ms,
            session.generation,
            instance["version"] if instance else before.version,
            until_ms,
            account or before.account,
            blocked or state == "replaced",
            reason_code,
            (state, now_ms) if state in gaps.AWAY and before.away is None else before.away,
            before.limit,
        )
    )


def _follow(
    session: Session, state: pb.SessionState, symbol: str, account: dict[str, Any] | None, at_ms: int, now_ms: int
) -> None:
    if symbol in MOMENTS:
        _moment(session, state, symbol)
        return
    if symbol in _ENDED:
        session.online = False
    if symbol == "online":
        session.online, session.attempts, session.last_error = True, 0, None
    if symbol in ("online", "paired"):
        session.paired = True
    elif symbol in ("unpaired", "logged_out"):
        session.paired = False
    change(
        session,
        symbol,
        state.reason or None,
        at_ms,
        until_ms=state.expires_at_ms or None,
        account=account,
        reason_code=state.reason_code,
    )
    if symbol == "paired":
        _pair_done(session, now_ms)
    elif symbol == "pair_failed":
        _pair_failed(session, state, now_ms)
    elif symbol == "logged_out":
        _logged_out(session, state.command_id, now_ms)
    elif symbol == "online":
        gaps.back_online(session, now_ms)
    elif symbol == "banned":
        limit.publish(
            session,
            "ban",
            now_ms,
            reason=state.reason or None,
            reason_code=state.reason_code or None,
            until_ms=state.expires_at_ms or None,
        )


def _moment(session: Session, state: pb.SessionState, symbol: str) -> None:
    """What shows while the session stays in its state."""
    if symbol == "degraded":
        session.last_error = "WhatsApp does not answer keepalives: reconnected by itself if that goes on"
    elif symbol == "restored":
        session.last_error = None
    elif symbol == "gap":
        session.metrics.counter(GAPS).labels(reason=state.reason).inc()


def _pair_done(session: Session, now_ms: int) -> None:
    for command in [each for each in session.queue if each.type == "pair" and each.handed]:
        told = session.queue.acked(command.command_id)
        if told is not None:
            session.tell(told, now_ms)


def _pair_failed(session: Session, state: pb.SessionState, now_ms: int) -> None:
    problem = Problem(
        "wa.transient",
        state.reason or "the pairing failed",
        upstream_code=str(state.reason_code) if state.reason_code else None,
    )
    for command in [each for each in session.queue if each.type == "pair" and each.handed]:
        if state.command_id in ("", command.command_id):
            told = session.queue.failed(command.command_id, problem)
            if told is not None:
                session.tell(told, now_ms)


def _logged_out(session: Session, command_id: str, now_ms: int) -> None:
    """The device is gone: its queue ends here and its state is put aside, in one transaction."""
    for told in session.queue.logged_out(command_id):
        session.tell(told, now_ms)
    session.become(session.status.without_account())
    if session.data_key is not None and session.leaving is not None:
        session.archive(open_all(session.data_key, session.leaving))
    session.leaving = None
