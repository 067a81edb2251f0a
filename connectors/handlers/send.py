"""What became of a command that the host was given: SENDING with the stanza, then what WhatsApp said.

Own sends do not come back to the session that sent them, so the message event out is made here, from the command.
"""

from __future__ import annotations

from typing import Any

from connectors.commands import reread
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import limit
from connectors.sends import MESSAGES, Told
from connectors.session import Session
from connectors.statuses import RANKS
from core.errors import CATALOGUE
from core.ids import message_event_id, status_event_id
from core.jid import parse_jid
from core.telemetry.metrics import OUTBOUND_SECONDS

REACHOUT_LOCKED, THROTTLED = 463, 429
_OUTCOME = pb.SendFinished.Outcome
# Kind of the message event and type of its content, by command type.
_SENT_AS = {
    "send": ("message.new", None),
    "edit": ("message.edit", "edit"),
    "revoke": ("message.revoke", "revoke"),
    "react": ("message.reaction", "reaction"),
}


def handle_started(session: Session, event: pb.Event, now_ms: int) -> None:
    started = event.send_started
    names = (started.recipient.jid, started.recipient.lid, started.recipient.pn)
    timer = (started.ephemeral_s, started.ephemeral_set_at_ms) if started.HasField("ephemeral_s") else None
    told = session.queue.started(started.command_id, started.chat, names, now_ms, timer)
    if told is not None:
        session.tell(told, now_ms)


def handle_finished(session: Session, event: pb.Event, now_ms: int) -> None:
    finished = event.send_finished
    queue, command_id = session.queue, finished.command_id
    if finished.outcome == _OUTCOME.ACKED:
        told = queue.acked(command_id, finished.chat)
        if told is not None:
            conclude(session, told, now_ms, at_ms=finished.server_time_ms, server_id=finished.server_id)
    elif finished.outcome == _OUTCOME.REJECTED:
        told = queue.refused(command_id, finished.error_code, finished.error_kind, finished.error)
        if told is not None:
            _complain(session, told, finished.error_code, now_ms)
            conclude(session, told, now_ms, error_code=finished.error_code)
    elif finished.outcome == _OUTCOME.NO_ACK:
        for each in queue.no_ack(command_id, now_ms):
            session.tell(each, now_ms)
    else:
        if finished.error_code == THROTTLED:
            limit.publish(
                session,
                "throttled",
                now_ms,
                reason=finished.error or None,
                reason_code=THROTTLED,
                command_id=command_id,
            )
        if finished.error_kind not in ("offline", "not_logged_in"):
            session.last_error = f"a send waits: {finished.error or finished.error_kind}; tried again by itself"
        queue.not_sent(command_id, now_ms)


def _complain(session: Session, told: Told, error_code: int, now_ms: int) -> None:
    """What a refused send says about the account, for whoever looks at the session."""
    problem = told.problem
    if problem is None:
        return
    session.last_error = f"{problem.code}: {problem.message}; {CATALOGUE[problem.code].next_step}"
    if error_code == REACHOUT_LOCKED:
        limit.publish(
            session,
            limit.TIMELOCK,
            now_ms,
            reason=problem.message,
            reason_code=error_code,
            command_id=told.command.command_id,
        )


def conclude(
    session: Session, told: Told, now_ms: int, *, at_ms: int = 0, server_id: int = 0, error_code: int = 0
) -> None:
    """The final of a command, with the message event and the server's status when it sent a message."""
    session.tell(told, now_ms)
    command = told.command
    if command.type not in MESSAGES or command.message_id is None:
        return
    if told.state == "sent":
        session.last_error = None
        session.metrics.histogram(OUTBOUND_SECONDS).observe(max(0, now_ms - command.admitted_at) / 1000)
    chat = command.chat or command.lane
    identity = chat_identity(chat, command.names)
    if told.state == "sent":
        _message_out(session, told, identity, now_ms, at_ms, server_id)
        _status(session, told, identity, "server_ack", now_ms, at_ms, None)
    elif told.state == "failed":
        _status(session, told, identity, "failed", now_ms, at_ms, error_code or None)


def chat_identity(chat: str, names: frozenset[str]) -> dict[str, Any]:
    known = {chat, *names}
    return {
        "jid": chat,
        "lid": next((name for name in sorted(known) if name.endswith("@lid")), None),
        "pn": next((name for name in sorted(known) if name.endswith("@s.whatsapp.net")), None),
        "bsuid": None,
        "username": None,
    }


def _message_out(session: Session, told: Told, chat: dict[str, Any], now_ms: int, at_ms: int, server_id: int) -> None:
    command = told.command
    kind, content_type = _SENT_AS[command.type]
    content = reread(session.codec, command)["content"] or {}
    if content_type is not None and content.get("type") != content_type:
        content = {**content, "type": content_type}
    if content_type == "edit":
        content = {**content, "inner_type": "text", "edited_at": at_ms or now_ms}
    if command.timer is not None:
        seconds, set_at = command.timer
        context = {**(content.get("context") or {}), "ephemeral_s": seconds, "ephemeral_set_at": set_at or None}
        content = {**content, "context": context}
    account = session.status.account
    jid = parse_jid(chat["jid"])
    mode = "lid" if jid.is_lid else "pn" if jid.is_phone else "unknown"
    session.emit(
        "events.message",
        kind,
        {
            "kind": kind,
            "direction": "out",
            "key": {
                "chat": chat["jid"],
                "sender": account["jid"] if account else None,
                "from_me": True,
                "id": command.message_id,
                "server_id": server_id or None,
            },
            "sender": account,
            "chat": chat,
            "recipient": chat if jid.kind == "user" else None,
            "addressing_mode": mode,
            "chat_kind": jid.kind.value,
            "command_id": command.command_id,
            "metadata": dict(command.metadata),
            "content": content,
        },
        # Without the sender: it may not be known yet when a receipt settles a send after a restart.
        event_id=message_event_id(
            session.instance_id,
            session.generation,
            chat=chat["jid"],
            sender=None,
            message_id=command.message_id or "",
            kind=kind,
        ),
        occurred_at=at_ms,
        received_at=now_ms,
        subject=chat["jid"],
        now_ms=now_ms,
    )


def _status(
    session: Session,
    told: Told,
    chat: dict[str, Any],
    status: str,
    now_ms: int,
    at_ms: int,
    error_code: int | None,
) -> None:
    command = told.command
    message_id = command.message_id or ""
    reduced = session.statuses.look(message_id, (), status)
    fresh = session.emit(
        "events.status",
        f"status.{status}",
        {
            "chat": chat,
            "message_id": message_id,
            "status": status,
            "rank": RANKS[status],
            "user_status": reduced.status,
            "user_rank": reduced.rank,
            "raised": reduced.raised,
            "error_code": error_code,
            "command_id": command.command_id,
            "metadata": dict(command.metadata),
        },
        event_id=status_event_id(
            session.instance_id,
            session.generation,
            chat=chat["jid"],
            sender=None,
            message_id=message_id,
            participant=None,
            device=None,
            status=status,
        ),
        occurred_at=at_ms,
        received_at=now_ms,
        subject=message_id,
        now_ms=now_ms,
    )
    if fresh:
        session.statuses.apply(message_id, (), reduced.status, sent_at_ms=at_ms if status == "server_ack" else 0)
