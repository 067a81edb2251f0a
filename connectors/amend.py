"""Edits and deletions: what is known here to be refused, before anything is sent. Pure.

WhatsApp accepts a late edit and phones ignore it, so a refusal here is the only one there is.
"""

from __future__ import annotations

from typing import Any

from connectors.sends import Outgoing, Problem
from connectors.statuses import Statuses
from core.jid import parse_jid, parse_recipient

# As the apps count it, from the server's time of the message.
EDIT_WINDOW_MS = 15 * 60_000

Record = dict[str, Any]


def problem_of(command: Record, account: Record | None, statuses: Statuses, now_ms: int) -> Problem | None:
    """Why an edit or revoke cannot do what it asks for; None as far as can be known here."""
    if command["type"] not in ("edit", "revoke") or command["content"] is None:
        return None
    target = command["content"]["target"]
    if target is None:
        return None
    own = _is_own(target, account)
    if command["type"] == "edit":
        if not own:
            return Problem("api.validation", "only own messages can be edited", "content.target.sender")
        return late(target["id"], statuses, now_ms)
    if not own and _is_of_two(target["chat"]):
        return Problem("api.validation", "only own messages can be deleted in a chat of two", "content.target.sender")
    return None


def late(message_id: str, statuses: Statuses, now_ms: int) -> Problem | None:
    """An edit after its window. Of a message that another device sent nothing is known: WhatsApp decides."""
    sent_at = statuses.sent_at_ms(message_id)
    if sent_at is None or now_ms - sent_at <= EDIT_WINDOW_MS:
        return None
    minutes = EDIT_WINDOW_MS // 60_000
    return Problem(
        "api.expired", f"a message can be edited for {minutes} minutes after it was sent", "content.target.id"
    )


def late_by_now(command: Outgoing, statuses: Statuses, now_ms: int) -> Problem | None:
    """The same for an edit that waited."""
    if command.type != "edit" or command.edits is None:
        return None
    return late(command.edits, statuses, now_ms)


def _is_own(target: Record, account: Record | None) -> bool:
    """A key without a sender is taken for one of ours: nobody can edit anything else."""
    if target["from_me"] or not target["sender"] or account is None:
        return True
    names = [account[name] for name in ("jid", "lid", "pn") if account[name]]
    return parse_recipient(target["sender"], "content.target.sender") in [parse_jid(name) for name in names]


def _is_of_two(chat: str) -> bool:
    return parse_recipient(chat, "content.target.chat").kind == "user"
