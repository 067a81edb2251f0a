"""One admitted command on its way out, as the connector knows it: a pure state machine.

    (admitted) ──> QUEUED ──> SENDING ──> final
                     │           │ ▲
                     │           ▼ │ same bytes again
                     └──> final  UNSETTLED ──> final

QUEUED and the offset are committed before the host gets the command; SENDING is committed with the encrypted stanza;
each command gets exactly one final result, in the transaction that removes its items (design, invariants 4 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from core.errors import CATALOGUE

DAY_MS = 86_400_000
# The limiter's results of a command have lower revisions.
FIRST_REVISION = 100
MAX_WORDS = 2_000
# Waits before the same bytes go out again; the last one repeats.
RESEND_AFTER_MS = (10_000, 30_000, 60_000, 300_000, 600_000)
# Waits before something that did not leave at all is handed out again.
RETRY_AFTER_MS = (500, 1_000, 2_000, 5_000, 15_000, 30_000)

# Commands that send a message; all others end as `done`.
MESSAGES = frozenset({"send", "edit", "revoke", "react"})
MARKS = frozenset({"read", "typing", "presence"})


class State(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a command ended badly: the catalogue's code and WhatsApp's own, if it gave one."""

    code: str
    message: str
    field: str | None = None
    upstream_code: str | None = None

    def as_record(self) -> dict[str, Any]:
        return {
            "code": self.code,
            # WhatsApp's own words may be of any length.
            "message": self.message[:MAX_WORDS],
            "field": self.field,
            "retryable": CATALOGUE[self.code].retryable,
            "upstream_code": self.upstream_code,
        }


@dataclass(slots=True)
class Outgoing:
    """`body` is the admitted record as it came; everything up to `interval_ms` is read from it and never changes.

    `names` are all addresses known for its chat: it blocks every one of them while it is on its way. `handed` is true
    while the host has it; that is not part of the state, a new session starts with nothing handed out. `read` is the
    command decoded from the body, kept while it is soon needed again. `edits` is the message an edit is about.
    """

    offset: int
    body: bytes
    command_id: str
    type: str
    lane: str
    message_id: str | None
    admitted_at: int
    expires_at: int | None
    hold: bool
    interval_ms: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None
    edits: str | None = None

    state: State = State.QUEUED
    revision: int = FIRST_REVISION
    chat: str | None = None
    names: frozenset[str] = frozenset()
    started_at: int = 0
    next_at: int = 0
    tries: int = 0
    # The chat's disappearing timer, if the host put it into the message: seconds, and when it was set.
    timer: tuple[int, int] | None = None
    handed: bool = False
    read: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def deadline(self) -> int | None:
        """When it ends without an answer: QUEUED by its own expiry only, later after 24 hours at most."""
        if self.expires_at is not None:
            return self.expires_at
        return None if self.state is State.QUEUED else self.started_at + DAY_MS

    def progress(self) -> bytes:
        """Value of its progress item, written from SENDING on."""
        fields = [
            self.state.value,
            self.revision,
            self.chat,
            sorted(self.names),
            self.started_at,
            self.next_at,
            self.tries,
        ]
        return orjson.dumps(fields if self.timer is None else [*fields, *self.timer])

    def resume(self, progress: bytes) -> None:
        state, self.revision, self.chat, names, self.started_at, self.next_at, self.tries, *timer = orjson.loads(
            progress
        )
        self.state, self.names, self.timer = State(state), frozenset(names), (timer[0], timer[1]) if timer else None


@dataclass(frozen=True, slots=True)
class Told:
    """A result to be written. `command` is as it stands after the step."""

    command: Outgoing
    state: str
    final: bool
    problem: Problem | None = None
    revision: int = 0


def tell(command: Outgoing, state: str, problem: Problem | None = None, *, final: bool) -> Told:
    command.revision += 1
    return Told(command, state, final, problem, command.revision)


def success(command: Outgoing) -> str:
    return "sent" if command.type in MESSAGES else "done"


# What the host or WhatsApp said -> catalogue code. WhatsApp's number wins over the host's word.
_BY_NUMBER = {
    463: "wa.reachout_locked",
    479: "wa.invalid",
    429: "wa.throughput",
    405: "wa.invalid",
    401: "wa.logged_out",
}
_BY_KIND = {
    "not_on_whatsapp": "wa.not_on_whatsapp",
    "invalid": "wa.invalid",
    "not_logged_in": "wa.logged_out",
    "server": "wa.transient",
    "client": "wa.invalid",
}


def refusal(number: int, kind: str, text: str) -> Problem:
    """The problem of a send that was refused for good."""
    code = _BY_NUMBER.get(number)
    if code is None and 500 <= number < 600:
        code = "wa.transient"
    if code is None:
        code = _BY_KIND.get(kind, "wa.undeliverable")
    return Problem(code, text or CATALOGUE[code].meaning, upstream_code=str(number) if number else None)


def wait_ms(waits: tuple[int, ...], tries: int) -> int:
    return waits[min(tries, len(waits) - 1)]
