"""Errors of every process: one hierarchy, one catalogue of codes, one JSON shape.

    WharfError
    ├── APIError         api.*     what a caller asked for is not possible
    │   └── PoisonError            a record that can never be processed: goes to the dead letters
    ├── DBError          db.*      Kafka, registry, ClickHouse, Redis, object store, session state
    │   └── Fenced                 another process owns this slot: close everything and exit
    ├── WhatsAppError    wa.*      WhatsApp refused, failed or did not answer
    └── SettingsError    config.*  the start stops: settings, keys or topics are not as they must be

A code is a fact of the catalogue below: an error with a code that is not in it cannot be made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Outcome = Literal["not_sent", "sent", "unknown"]


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """`status` is the HTTP status, `next_step` what whoever sees the error does now."""

    code: str
    status: int
    meaning: str
    next_step: str
    retryable: bool = False


def _codes(*rows: ErrorCode) -> dict[str, ErrorCode]:
    return {row.code: row for row in rows}


CATALOGUE: dict[str, ErrorCode] = _codes(
    ErrorCode("wa.throughput", 429, "WhatsApp limits the rate of this number", "back off, then retry", True),
    ErrorCode("wa.pair_rate", 429, "too many messages to this chat", "delay that chat", True),
    ErrorCode("wa.quality_limited", 429, "limited for quality", "pause the campaign"),
    ErrorCode("wa.reachout_locked", 403, "new chats are locked for a time", "no retry before the expiry"),
    ErrorCode("wa.newchat_capped", 429, "the quota of new chats is used up", "wait for the cycle's end"),
    ErrorCode("wa.window_closed", 422, "the service window is closed", "use a template"),
    ErrorCode("wa.undeliverable", 422, "the recipient cannot get this message", "final: do not retry"),
    ErrorCode("wa.not_on_whatsapp", 422, "the number has no WhatsApp account", "final: do not retry"),
    ErrorCode("wa.account_restricted", 403, "the account is restricted", "tell the administrator"),
    ErrorCode("wa.temp_banned", 403, "the account is banned for a time", "stop until the expiry"),
    ErrorCode("wa.logged_out", 409, "the device is logged out", "pair the instance again"),
    ErrorCode("wa.session_replaced", 409, "another client took the session", "ownership is lost: do not reconnect"),
    ErrorCode("wa.client_outdated", 503, "WhatsApp refuses this client version", "upgrade wharf"),
    ErrorCode("wa.transient", 503, "WhatsApp failed for the moment", "retry with the same id", True),
    ErrorCode("wa.invalid", 422, "WhatsApp refuses the content", "final: correct the request"),
    ErrorCode("wa.upstream_auth", 502, "the upstream token is refused", "rotate the token"),
    ErrorCode("wa.unknown_outcome", 504, "nobody knows whether it was sent", "reconcile; never use a new id"),
    ErrorCode("wa.media_unavailable", 422, "the media is gone", "ask the phone to upload it again"),
    ErrorCode("api.queue_full", 429, "the queue of the instance is full", "wait for results, then retry", True),
    ErrorCode("api.validation", 422, "the request is not valid", "correct the named field"),
    ErrorCode("api.unauthenticated", 401, "no valid credential", "send a valid key"),
    ErrorCode("api.forbidden", 403, "the credential does not allow this", "ask for the scope"),
    ErrorCode("api.csrf", 403, "the request does not come from the console", "reload the page"),
    ErrorCode("api.not_found", 404, "no such thing", "check the name"),
    ErrorCode("api.conflict", 409, "the present state does not allow this", "read the state, then decide again"),
    ErrorCode("api.idempotency_mismatch", 422, "the same id came with another body", "use a new id for a new request"),
    ErrorCode("api.in_flight", 409, "the same request is being processed", "wait for its result", True),
    ErrorCode("api.too_large", 413, "larger than 1 MiB", "send less"),
    ErrorCode("api.unsupported_media", 415, "the format is not understood", "send Avro or JSON"),
    ErrorCode("api.rate_limited", 429, "too many requests", "retry after the given time", True),
    ErrorCode("api.expired", 410, "its time was over", "send a new command if it still matters"),
    ErrorCode("api.unknown_schema", 422, "the schema id is not in the registry", "register the schema, or use JSON"),
    ErrorCode("db.kafka_unavailable", 503, "Kafka does not answer; nothing was accepted", "retry", True),
    ErrorCode("db.kafka_fenced", 503, "another process took over this slot", "the supervisor restarts it", True),
    ErrorCode(
        "db.registry_unavailable", 503, "the schema registry does not answer; nothing was accepted", "retry", True
    ),
    ErrorCode("db.clickhouse_unavailable", 503, "ClickHouse does not answer", "retry", True),
    ErrorCode(
        "db.clickhouse_denied",
        503,
        "ClickHouse knows no such user, or another password",
        "correct clickhouse.user and clickhouse.password, or the reader's",
    ),
    ErrorCode("db.redis_unavailable", 503, "Redis does not answer", "retry", True),
    ErrorCode(
        "db.object_store_unavailable", 503, "the object store does not answer; nothing was stored", "retry", True
    ),
    ErrorCode("db.state_corrupt", 503, "a state record cannot be read", "restore the topic or the keys from a backup"),
    ErrorCode(
        "db.key_unknown", 503, "state is encrypted with a key that is not in the key file", "restore the key file"
    ),
    ErrorCode("db.position_lost", 503, "there is state but no position to go on from", "see `wharf doctor`"),
    ErrorCode("config.invalid", 500, "a setting is unknown or malformed", "correct the named setting"),
    ErrorCode("config.keys", 500, "the key file is missing, open to others or malformed", "restore it with mode 0600"),
    ErrorCode("config.topics", 500, "the topics are not as the topic table says", "run `wharf topics diff`"),
)


class WharfError(Exception):
    """`retryable` is the catalogue's unless given; `context` is for logs and comes back in the JSON."""

    prefix: ClassVar[str] = ""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retryable: bool | None = None,
        outcome: Outcome | None = None,
        upstream: dict[str, Any] | None = None,
        **context: Any,
    ) -> None:
        if code not in CATALOGUE or not code.startswith(self.prefix):
            raise ValueError(f"{code!r} is no code of {type(self).__name__}")
        super().__init__(f"{code}: {message}" + (f" ({field})" if field else ""))
        self.code = code
        self.message = message
        self.field = field
        self.retryable = CATALOGUE[code].retryable if retryable is None else retryable
        self.outcome = outcome
        self.upstream = upstream
        self.context = context

    @property
    def status(self) -> int:
        return CATALOGUE[self.code].status

    @property
    def next_step(self) -> str:
        return CATALOGUE[self.code].next_step

    def as_dict(self) -> dict[str, Any]:
        """RFC 9457 members plus ours; absent facts are left out."""
        entry = CATALOGUE[self.code]
        body: dict[str, Any] = {
            "type": f"urn:wharf:error:{self.code}",
            "title": entry.meaning,
            "status": entry.status,
            "detail": self.message,
            "code": self.code,
            "retryable": self.retryable,
            "next_step": entry.next_step,
            "field": self.field,
            "outcome": self.outcome,
            "upstream": self.upstream,
            **self.context,
        }
        return {name: value for name, value in body.items() if value is not None}


class APIError(WharfError):
    prefix = "api."


class PoisonError(APIError):
    """Malformed bytes, an unknown schema id, a value that breaks the contract: trying again changes nothing."""


class DBError(WharfError):
    prefix = "db."


class Fenced(DBError):
    """Raised by the loop when its transactional id was taken; nothing may be sent or acked any more."""

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__("db.kafka_fenced", message, **context)


class WhatsAppError(WharfError):
    prefix = "wa."


class SettingsError(WharfError):
    prefix = "config."


_CLASSES: tuple[type[WharfError], ...] = (APIError, DBError, WhatsAppError, SettingsError)


def error(code: str, message: str, **kwargs: Any) -> WharfError:
    """The error of the class its code belongs to."""
    for cls in _CLASSES:
        if code.startswith(cls.prefix):
            return cls(code, message, **kwargs)
    raise ValueError(f"{code!r} is no code of the catalogue")
