"""What a session's state means in words, and what an operator does about it. Pure.

A state that needs no words has none: created, pairing, paired, connecting, online, stopped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from connectors.status import Status
from core.errors import CATALOGUE

_YEAR_9999_MS = 253_370_764_800_000


class Advice(NamedTuple):
    words: str
    next_step: str


# WhatsApp's codes of a temporary ban (facts of the protocol).
_BANS = {
    101: "too many messages to strangers",
    102: "blocked by too many recipients",
    103: "too many groups with strangers",
    104: "the same message too often",
    106: "too many broadcasts",
}
_LOGGED_OUT = {
    401: "the phone unlinked this device",
    403: "the account's main device is gone",
    406: "WhatsApp banned the account",
}
PAIR_AGAIN = "pair the instance again (wharf instances pair NAME)"
_APPEAL = "appeal in the WhatsApp app on the phone; then pair the instance again"
_BY_ITSELF = "nothing: it reconnects by itself"


def explain(status: Status) -> Advice | None:
    """The trouble a state is, None for one that is in order."""
    match status.state:
        case "unpaired":
            return Advice("not paired", "pair the instance (wharf instances pair NAME)")
        case "pair_failed":
            return Advice(f"pairing failed: {status.reason or 'no reason given'}", PAIR_AGAIN)
        case "offline":
            return _offline(status)
        case "logged_out":
            return _logged_out(status)
        case "replaced":
            return Advice(
                _coded("wa.session_replaced"),
                "see that nothing else uses this device's keys, then change the instance to open it again",
            )
        case "banned":
            return _banned(status)
        case "outdated":
            return Advice(
                f"{_coded('wa.client_outdated')} (405)",
                f"{CATALOGUE['wa.client_outdated'].next_step}; tried again each 15 min",
            )
        case "failed":
            return _failed(status)
    return None


def limit(status: Status, now_ms: int) -> Advice | None:
    """A restriction that holds while the session is online."""
    if status.limit is None or (status.limit[1] and status.limit[1] <= now_ms):
        return None
    code = CATALOGUE["wa.reachout_locked"]
    return Advice(f"{_coded(code.code)}{_until(status.limit[1])}", f"{code.next_step}; replies go on")


def _offline(status: Status) -> Advice:
    reason = status.reason or "disconnected"
    if reason == "silence":
        return Advice("nothing came from WhatsApp any more, the connection counts as dead", _BY_ITSELF)
    if "proxy" in reason:
        return Advice(f"no connection: {reason}", "check the instance's proxy; tried again by itself")
    if status.reason_code:
        return Advice(f"{_coded('wa.transient')} ({status.reason_code})", _BY_ITSELF)
    return Advice(f"no connection: {reason}", _BY_ITSELF)


def _logged_out(status: Status) -> Advice:
    if status.reason == "requested":
        return Advice(f"{_coded('wa.logged_out')} at our own request", PAIR_AGAIN)
    cause = _LOGGED_OUT.get(status.reason_code, status.reason or "no reason given")
    code = f" ({status.reason_code})" if status.reason_code else ""
    return Advice(f"{_coded('wa.logged_out')}: {cause}{code}", _APPEAL if status.reason_code == 406 else PAIR_AGAIN)


def _banned(status: Status) -> Advice:
    cause = _BANS.get(status.reason_code, "no reason given")
    until = _until(status.until_ms)
    return Advice(
        f"{_coded('wa.temp_banned')}{until}: {cause} ({status.reason_code or 402})",
        "wait: it is opened again then; after that write to fewer strangers",
    )


def _failed(status: Status) -> Advice:
    if status.blocked:
        return Advice(f"failed: {status.reason}", "see the connector's log, then change the instance to open it again")
    return Advice(
        f"WhatsApp refused the login: {status.reason} ({status.reason_code})", "nothing: it tries again each minute"
    )


def _coded(code: str) -> str:
    return f"{code}: {CATALOGUE[code].meaning}"


def _until(at_ms: int | None) -> str:
    if at_ms is None or not 0 < at_ms < _YEAR_9999_MS:
        return ""  # WhatsApp's number may be any
    return f" until {datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
