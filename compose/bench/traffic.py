"""Records as the event topics get them from a business's instances: conversations both ways with their results and receipts,
sessions that come and go, limits, contacts, typing. Pure: the same for the same seed, in the order of time.

What makes them like real ones: a few instances and contacts have most of the traffic, a command has three results and
three receipts, texts differ in length, one message in five is media, commands carry an agent and often a campaign.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core import ids
from core.envelope import cloud_event_headers, envelope
from core.kafka.processor import Headers

Record = dict[str, Any]

MINUTE_MS = 60_000
GENERATION = 1_750_000_000_000
_EMPTY_CONTENT: Record = {
    "inner_type": None, "text": None, "text_guessed": False, "preview": None, "media": None, "target": None,
    "reaction": None, "revoked_by": None, "edited_at": None, "timer_s": None, "placeholder": None, "wrappers": [],
    "system": None, "context": None, "raw": None,
}  # fmt: skip
_TEXT = (
    "hello thanks order delivery tomorrow price invoice when today arrived please address number yes no how much is the "
    "for my can you send again good morning is it still open until what time we close payment received see photo attached"
)
_WORDS = tuple(_TEXT.split())
_MEDIA = (("image", "image/jpeg"), ("voice", "audio/ogg"), ("document", "application/pdf"), ("sticker", "image/webp"))
_FAILURES = (131026, 470, 131049)


@dataclass(frozen=True, slots=True)
class Made:
    """A record with what stands beside it in Kafka; `at` is its time."""

    at: int
    topic: str
    instance: str
    record: Record
    headers: Headers


class Traffic:
    """`instances` share what happens from `start_ms` on; a conversation's step comes each `step_ms` on average."""

    def __init__(self, seed: int, *, instances: int, contacts: int, start_ms: int, step_ms: float) -> None:
        self._rng = random.Random(seed)
        self._instances = instances
        self._contacts = contacts
        self._now = float(start_ms)
        self._step_ms = step_ms
        self._numbers = 0
        self._seqs: dict[str, int] = {}
        # What was decided already and happens later: receipts, results.
        self._later: list[tuple[int, int, Made]] = []

    def take(self, count: int) -> Iterator[Made]:
        """So many records."""
        taken = 0
        while taken < count:
            self._now += self._rng.expovariate(1 / self._step_ms)
            self._step()
            while taken < count and self._later and self._later[0][0] <= self._now:
                taken += 1
                yield heapq.heappop(self._later)[2]

    # -- what happens

    def _step(self) -> None:
        rng = self._rng
        # Squared and cubed: the first ones have most of the traffic.
        instance = f"shop-{int(rng.random() ** 2 * self._instances)}"
        contact = f"4917{10_000_000 + int(rng.random() ** 3 * self._contacts):08d}@s.whatsapp.net"
        group = f"12036304{int(rng.random() * 40):010d}@g.us" if rng.random() < 0.15 else None
        word = rng.random()
        at = int(self._now)
        if word < 0.45:
            self._incoming(at, instance, contact, group)
        elif word < 0.92:
            self._outgoing(at, instance, contact, group)
        elif word < 0.97:
            chat = {"chat": _identity(contact), "actor": _identity(contact), "typing": "composing"}
            self._event(at, "events.chat", instance, "chat.typing", chat | {"timer_s": None, "timer_set_at": None})
        elif word < 0.985:
            self._event(at, "events.contact", instance, "contact.presence", _presence(contact, at))
        elif word < 0.995:
            self._outage(at, instance)
        else:
            self._restricted(at, instance)

    def _incoming(self, at: int, instance: str, contact: str, group: str | None) -> None:
        message_id = self._message_id("3A", 20)
        self._message(at, instance, group or contact, contact, message_id, direction="in")
        if self._rng.random() < 0.4:
            # Read on the account's own phone.
            own = _status(group or contact, "4915700000001@s.whatsapp.net", message_id, "read", 4)
            read = own | {"from_self": True, "message_sender": contact, "user_status": None, "user_rank": None}
            self._event(at + self._wait(40_000), "events.status", instance, "status.read-self", read)

    def _outgoing(self, at: int, instance: str, contact: str, group: str | None) -> None:
        rng = self._rng
        command_id = f"{rng.getrandbits(128):032x}"
        metadata = {"agent": f"agent-{int(rng.random() ** 2 * 30)}", "ticket": str(rng.randrange(100_000))}
        if rng.random() < 0.35:
            metadata["campaign"] = f"campaign-{rng.randrange(12)}"
        chat, message_id = group or contact, self._message_id("3EB0", 22)
        told = {"command_id": command_id, "chat": chat, "metadata": metadata}
        if rng.random() < 0.02:
            error = {"code": "wa.undeliverable", "message": "131026", "field": None, "retryable": False}
            self._result(at + 5, instance, told, "failed", 2, error=error | {"upstream_code": "131026"})
            return
        if rng.random() < 0.1:
            until = at + self._wait(20_000)
            self._result(at, instance, told, "delayed", 1, until=until)
            at = until
        self._result(at, instance, told, "queued", 2)
        self._result(at + 15, instance, told, "sending", 3, message_id=message_id)
        sent = at + 40 + self._wait(300)
        self._result(sent, instance, told, "sent", 4, message_id=message_id)
        self._message(
            sent, instance, chat, contact, message_id, direction="out", command_id=command_id, metadata=metadata
        )
        own = {"command_id": command_id, "metadata": metadata}
        if rng.random() < 0.02:
            failed = _status(chat, contact, message_id, "failed", 1) | own | {"error_code": rng.choice(_FAILURES)}
            self._event(sent + 700, "events.status", instance, "status.failed", failed)
            return
        reached = sent + 10
        for word, rank, share, wait_ms in (
            ("server_ack", 2, 1.0, 50),
            ("delivered", 3, 0.95, 4_000),
            ("read", 4, 0.7, 900_000),
        ):
            if rng.random() > share:
                return
            reached += self._wait(wait_ms)
            body = _status(chat, contact, message_id, word, rank) | own
            self._event(reached, "events.status", instance, f"status.{word}", body)

    def _outage(self, at: int, instance: str) -> None:
        for wait, state, code in ((0, "offline", 428), (2_000, "connecting", None), (3_000, "online", None)):
            body = _session(state, code)
            self._event(at + wait, "events.session", instance, f"session.{state}", body)

    def _restricted(self, at: int, instance: str) -> None:
        until = at + 30 * MINUTE_MS
        for when, kind in ((at, "block"), (until, "lifted")):
            body: Record = {
                "limit": kind,
                "reason_code": 463 if kind == "block" else None,
                "reason": "first contacts",
                "until": until,
                "command_id": None,
                "details": None,
            }
            self._event(when, "events.limit", instance, f"limit.{kind}", body)

    # -- records

    def _message(
        self,
        at: int,
        instance: str,
        chat: str,
        contact: str,
        message_id: str,
        *,
        direction: str,
        command_id: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        body: Record = {
            "direction": direction,
            "key": {
                "chat": chat,
                "sender": contact if direction == "in" else None,
                "from_me": direction == "out",
                "id": message_id,
                "server_id": None,
            },
            "sender": _identity(contact if direction == "in" else "4915700000001@s.whatsapp.net"),
            "chat": _identity(chat),
            "recipient": None if direction == "in" else _identity(contact),
            "sender_device": 0,
            "addressing_mode": "pn",
            "chat_kind": "group" if chat.endswith("@g.us") else "user",
            "broadcast_recipients": [],
            "push_name": f"Contact {contact[8:12]}" if direction == "in" else None,
            "verified_name": None,
            "client_platform": "ios",
            "stanza_type": "text",
            "media_type": None,
            "category": None,
            "edit": None,
            "retry_count": None,
            "newsletter_edited_at": None,
            "unavailable_request_id": None,
            "decrypt_fail_mode": None,
            "follow_up_of": None,
            "command_id": command_id,
            "metadata": metadata or {},
            "content": self._content(),
        }
        self._event(at, "events.message", instance, "message.new", body)

    def _content(self) -> Record:
        rng = self._rng
        text = " ".join(rng.choices(_WORDS, k=1 + int(rng.expovariate(1 / 12))))
        if rng.random() < 0.8:
            return {**_EMPTY_CONTENT, "type": "text", "text": text}
        kind, mime = rng.choice(_MEDIA)
        digest = f"{rng.getrandbits(256):064x}"
        media = {
            "kind": "audio" if kind == "voice" else kind,
            "mime": mime,
            "bytes": rng.randrange(10_000, 4_000_000),
            "sha256": digest,
            "direct_path": f"/v/t62.7118-24/{digest[:40]}.enc?ccb=11-4&oh={digest[:24]}",
            # A preview as phones send it: it is in the log and not in the tables.
            "thumbnail": rng.randbytes(900) if kind == "image" else None,
        }
        return {**_EMPTY_CONTENT, "type": kind, "text": text if kind == "image" else None, "media": media}

    def _result(self, at: int, instance: str, told: Record, state: str, revision: int, **more: Any) -> None:
        record = {
            "result_id": ids.result_id(instance, told["command_id"]),
            "instance_id": instance,
            "revision": revision,
            "final": state in ("sent", "failed"),
            "state": state,
            "type": "send",
            "message_id": None,
            "error": None,
            "until": None,
            "retry_at": None,
            "occurred_at": at,
            "tenant": None,
            **told,
            **more,
        }
        self._add(at, "results", instance, record, f"{record['result_id']}/{revision}", f"result.{state}")

    def _event(self, at: int, topic: str, instance: str, kind: str, body: Record) -> None:
        self._seqs[instance] = seq = self._seqs.get(instance, 0) + 1
        event_id = ids.event_id(topic, instance, GENERATION, seq)
        head = envelope(
            event_id=event_id,
            instance_id=instance,
            generation=GENERATION,
            occurred_at=at,
            received_at=at + self._wait(60),
            session_epoch=1,
            seq=seq,
        )
        record = {"envelope": head, **({} if topic == "events.status" else {"kind": kind}), **body}
        self._add(at, topic, instance, record, event_id, kind)

    def _add(self, at: int, topic: str, instance: str, record: Record, ce_id: str, kind: str) -> None:
        headers = cloud_event_headers(
            event_id=ce_id,
            event_type=f"wharf.{kind}",
            instance_id=instance,
            time_ms=at,
            subject=kind,
            traceparent=f"00-{self._rng.getrandbits(128):032x}-{self._rng.getrandbits(64):016x}-00",
        )
        self._numbers += 1
        heapq.heappush(self._later, (at, self._numbers, Made(at, topic, instance, record, headers)))

    def _message_id(self, start: str, length: int) -> str:
        return start + f"{self._rng.getrandbits(96):024X}"[: length - len(start)]

    def _wait(self, mean_ms: float) -> int:
        return 1 + int(self._rng.expovariate(1 / mean_ms))


def _identity(jid: str) -> Record:
    return {"jid": jid, "lid": None, "pn": None, "bsuid": None, "username": None}


def _status(chat: str, participant: str, message_id: str, word: str, rank: int) -> Record:
    return {
        "chat": _identity(chat),
        "message_id": message_id,
        "participant": _identity(participant),
        "participant_device": 0,
        "status": word,
        "rank": rank,
        "wire_type": "" if word == "delivered" else word,
        "user_status": word,
        "user_rank": rank,
        "raised": True,
        "from_self": False,
        "message_sender": None,
        "error_code": None,
        "command_id": None,
        "metadata": {},
    }


def _presence(contact: str, at: int) -> Record:
    return {"contact": _identity(contact), "available": False, "last_seen_at": at}


def _session(state: str, code: int | None) -> Record:
    return {
        "state": state,
        "reason_code": code,
        "reason": "connection closed" if code else None,
        "self": None,
        "platform": None,
        "business_name": None,
        "expires_at": None,
        "counts": {},
        "command_id": None,
        "details": None,
    }
