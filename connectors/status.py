"""The state a session is in, as it is shown and kept, and the pure decision whether it should be open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from connectors.state_items import OWN

ITEM = OWN + "status"

# Events of a session that say what happened but are no state it stays in.
MOMENTS = frozenset({"offline_sync", "gap", "restored", "degraded", "unknown"})


@dataclass(frozen=True, slots=True)
class Status:
    """`blocked`: not to be opened again before the instance changes; `version` is the instance's at that time."""

    state: str = "created"
    reason: str | None = None
    since_ms: int = 0
    generation: int = 0
    version: int = 0
    until_ms: int | None = None
    account: dict[str, Any] | None = None
    blocked: bool = False
    reason_code: int = 0
    # Since when messages went elsewhere, and why; told as a gap when the session is online again.
    away: tuple[str, int] | None = None
    # A restriction that lets the session be online, and its end if that is known.
    limit: tuple[str, int | None] | None = None

    def value(self) -> bytes:
        return orjson.dumps(
            (
                self.state,
                self.reason,
                self.since_ms,
                self.generation,
                self.version,
                self.until_ms,
                self.account,
                self.blocked,
                self.reason_code,
                self.away,
                self.limit,
            )
        )

    @classmethod
    def restore(cls, value: bytes | None) -> Status:
        if value is None:
            return cls()
        made = cls(*orjson.loads(value))
        return replace(made, away=_pair(made.away), limit=_pair(made.limit))

    def without_account(self) -> Status:
        return replace(self, account=None)


def _pair(value: Any) -> Any:
    """JSON knows no tuples."""
    return None if value is None else tuple(value)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`reason` says why a session is not to be open; `at_ms` when that may change by itself."""

    open: bool
    reason: str = ""
    at_ms: int | None = None


def wanted(
    instance: dict[str, Any] | None, status: Status, *, pairing_asked: bool, simulator_enabled: bool, now_ms: int
) -> Wanted:
    """Whether the session should be open. Never reopens by itself what lost its ownership or its device."""
    if instance is None:
        return Wanted(False, "no such instance")
    if instance["desired"] != "online":
        return Wanted(False, "stopped")
    if instance["simulated"] and not simulator_enabled:
        return Wanted(False, "simulated, but settings name no simulator")
    if status.blocked and status.version == instance["version"]:
        return Wanted(False, status.reason or status.state)
    if status.state == "logged_out" and not pairing_asked:
        return Wanted(False, "logged out")
    if status.until_ms is not None and status.until_ms > now_ms:
        return Wanted(False, "banned", status.until_ms)
    return Wanted(True)
